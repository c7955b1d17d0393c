.PHONY: install-local cluster-up cluster-down cluster-doctor cluster-status cluster-binaries control-plane-binaries helm prometheus-operator
LOCAL_CLUSTER = python3 -m hack.localcluster

cluster-up: setup ## a Kubernetes cluster: yours (KUBECONFIG_FILE=...), or a native node; ARGS="--name two", "--backend kind"
	@$(LOCAL_CLUSTER) up $(if $(KUBECONFIG_FILE),--kubeconfig $(KUBECONFIG_FILE)) $(ARGS)

install-local: ## a cluster with Andante on it (ARGS="--help"); prints what a shell needs: eval "$(make -s install-local)"
	@hack/preflight.sh $(ARGS) >&2
	@$(MAKE) --no-print-directory setup >&2
	@python -m hack.install $(ARGS)

cluster-down: ## take the cluster down; nothing is left behind, also after a crash
	@$(LOCAL_CLUSTER) down $(ARGS)

cluster-doctor: ## what a cluster on this machine lacks, and the command that fixes it
	@$(LOCAL_CLUSTER) doctor $(ARGS)

cluster-status: ## clusters that were brought up here
	@$(LOCAL_CLUSTER) status

cluster-binaries: setup ## every program of the native cluster, ahead of time (built once: about 15 minutes)
	@$(LOCAL_CLUSTER) binaries cluster >/dev/null

control-plane-binaries: setup ## the programs of the control plane, ahead of time
	@$(LOCAL_CLUSTER) binaries control-plane >/dev/null

prometheus-operator: setup ## the Prometheus Operator, which tests run (built once: some minutes)
	@python -m hack.go_programs prometheus-operator >/dev/null

helm: setup ## helm 3, into the cache
	@$(LOCAL_CLUSTER) binaries helm >/dev/null
