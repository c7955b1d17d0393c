"""Replaces vLLM's queue of waiting requests by one from whose middle a request can be removed without a search."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.request import Request


class WaitingQueue(RequestQueue):
    """vLLM's FCFSRequestQueue with a dictionary instead of a deque: an admitted request may be anywhere in it."""

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self._requests = OrderedDict((request.request_id, request) for request in requests)

    def add_request(self, request: Request) -> None:
        self._requests[request.request_id] = request

    def pop_request(self) -> Request:
        return self._requests.popitem(last=False)[1]

    def peek_request(self) -> Request:
        if not self._requests:
            raise IndexError("peek from an empty queue")
        return next(iter(self._requests.values()))

    def prepend_request(self, request: Request) -> None:
        self._requests[request.request_id] = request
        self._requests.move_to_end(request.request_id, last=False)

    def prepend_requests(self, requests: Iterable[Request]) -> None:
        """Put each request before all others, so the last of `requests` is first, as in vLLM."""
        for request in requests:
            self.prepend_request(request)

    def remove_request(self, request: Request) -> None:
        del self._requests[request.request_id]

    def remove_requests(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self._requests.pop(request.request_id, None)

    def holds(self, requests: Iterable[Request]) -> bool:
        """Whether all requests are in the queue."""
        return all(request.request_id in self._requests for request in requests)

    def __bool__(self) -> bool:
        return bool(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests.values())

    def __getitem__(self, place: int) -> Request:
        """As in vLLM's deque, for code outside; not used in a step."""
        return list(self._requests.values())[place]
