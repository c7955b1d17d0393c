"""Makes requests like the delivery meter does, at second 0 of all clocks."""

from __future__ import annotations

from collections.abc import Callable

from andante.domain.answer_length import AnswerLengths
from andante.engine_config import QoESettings
from andante_vllm.company import Company
from andante_vllm.expectations import NOTHING_SAID, ClientExpectation, QoEClasses
from andante_vllm.metered_request import MeteredRequest


def metered_request(
    settings: QoESettings | QoEClasses | None = None,
    *,
    said: ClientExpectation = NOTHING_SAID,
    at: float = 0.0,
    on_engine: Callable[[MeteredRequest], None] = lambda request: None,
    on_arrival: Callable[[int, int], None] = lambda requests, prompt_tokens: None,
    company: Company | None = None,
) -> MeteredRequest:
    """A request that came at second `at` and asks for tokens; without settings, qoe.yaml's defaults.

    Without `company` another request runs on the engine.
    """
    return MeteredRequest(
        said=said,
        classes=settings if isinstance(settings, QoEClasses) else QoEClasses(settings or QoESettings()),
        arrived_at=at,
        received_at=at,
        counts=True,
        on_engine=on_engine,
        on_arrival=on_arrival,
        lengths=AnswerLengths(),
        company=company or _busy(),
    )


def _busy() -> Company:
    company = Company()
    company.call_began()
    return company
