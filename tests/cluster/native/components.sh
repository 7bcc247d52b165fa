# shellcheck shell=bash
# The components of Kubernetes, each with the options that differ from its defaults.

all_processes=(local-path coredns kube-proxy kubelet scheduler controller-manager apiserver etcd containerd)
cgroup=backfill-operator-pods

kube() {
    "$bin/kubectl" --kubeconfig "$state/admin.kubeconfig" --request-timeout=10s "$@"
}

start_control_plane() {
    start etcd "$bin/etcd" --name "$node" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379 \
        --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 \
        --initial-cluster "$node=http://127.0.0.1:12380" \
        --heartbeat-interval 500 --election-timeout 5000 --quota-backend-bytes 4294967296
    # On all addresses, but announced by the node's: programs on this machine use 127.0.0.1, pods the bridge.
    start apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:12379 \
        --bind-address 0.0.0.0 --secure-port 6443 --advertise-address "$address" \
        --service-cluster-ip-range 10.96.0.0/16 --allow-privileged --authorization-mode Node,RBAC \
        --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$pki/service-accounts.pub" --service-account-signing-key-file "$pki/service-accounts.key" \
        --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
        --kubelet-preferred-address-types InternalIP \
        --max-requests-inflight 1000 --max-mutating-requests-inflight 500 --profiling=false
    await apiserver 120 kube get --raw /readyz
    # A busy machine must not lose its only node: two minutes without a sign of life are no failure.
    start controller-manager "$bin/kube-controller-manager" --kubeconfig "$state/controller-manager.kubeconfig" \
        --leader-elect=false --use-service-account-credentials --bind-address 127.0.0.1 \
        --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/service-accounts.key" \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
        --kube-api-qps 200 --kube-api-burst 400 --concurrent-job-syncs 20 --concurrent-serviceaccount-token-syncs 10 \
        --concurrent-deployment-syncs 10 --concurrent-replicaset-syncs 10 --concurrent-namespace-syncs 20 --concurrent-gc-syncs 20 \
        --node-monitor-grace-period 120s --profiling=false
    start scheduler "$bin/kube-scheduler" --kubeconfig "$state/scheduler.kubeconfig" \
        --leader-elect=false --bind-address 127.0.0.1 --kube-api-qps 200 --kube-api-burst 400 --profiling=false
}

start_node() {
    write_kubelet_config
    start kubelet "$bin/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$state/kubelet.kubeconfig" \
        --root-dir "$state/kubelet" --cert-dir "$state/kubelet/pki" --hostname-override "$node" --node-ip "$address"
    cat >"$state/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $state/kube-proxy.kubeconfig}
hostnameOverride: $node
clusterCIDR: $pod_range
mode: nftables
conntrack: {maxPerCore: 0}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: ""
END
    start kube-proxy "$bin/kube-proxy" --config "$state/kube-proxy.yaml"
}

write_kubelet_config() {
    local controller
    for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        if [ -e "$controller/cgroup.procs" ]; then
            mkdir -p "$controller/$cgroup"
        fi
    done
    # Volumes of ConfigMaps follow within syncFrequency. The queries a second are raised so that sixty pods start at once.
    # Images are ours and come from no registry: they are never collected.
    cat >"$state/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$socket
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
clusterDNS: [$address]
clusterDomain: cluster.local
maxPods: 200
podLogsDir: $state/pod-logs
volumePluginDir: $state/kubelet/plugins
readOnlyPort: 0
healthzPort: 0
syncFrequency: 10s
nodeStatusUpdateFrequency: 10s
kubeAPIQPS: 100
kubeAPIBurst: 200
eventRecordQPS: 100
eventBurst: 200
registryPullQPS: 0
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
END
}

start_addons() {
    cat >"$state/Corefile" <<END
.:53 {
    bind $address
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {
        kubeconfig $state/admin.kubeconfig
        ttl 5
        fallthrough in-addr.arpa
    }
    forward . /etc/resolv.conf
    cache {
        success 9984 5
        denial 9984 1
    }
}
END
    start coredns "$bin/coredns" -conf "$state/Corefile"
    sed "s|@volumes@|$state/volumes|; s|@image@|$base_image|" "$here/native/storage.yaml" >"$state/storage.yaml"
    await apiserver 30 kube apply -f "$state/storage.yaml"
    # Before its account exists the helper pod could not be made.
    await controller-manager 30 kube --namespace local-path-storage get serviceaccount default
    start local-path "$bin/local-path-provisioner" start --kubeconfig "$state/admin.kubeconfig" \
        --namespace local-path-storage --helper-image "$base_image" --service-account-name default
    await kubelet 60 node_ready
    await coredns 30 curl -fsS http://127.0.0.1:8181/ready
    await local-path 10 true
}

node_ready() {
    [ "$(kube get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.spec.taints}')" = "True " ]
}
