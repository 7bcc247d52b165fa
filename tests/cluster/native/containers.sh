# shellcheck shell=bash
# containerd with root, state and socket of its own, the one image that the cluster itself needs, and the end of all pods.

socket=$state/containerd/containerd.sock
base_image=localhost/busybox:1

ctr_own() {
    ctr --address "$socket" --namespace k8s.io "$@"
}

start_containerd() {
    write_containerd_config
    launch_containerd
    if [ -z "$(ctr_own images ls -q "name==$base_image")" ]; then
        import_base_image
    fi
}

launch_containerd() {
    start containerd containerd --config "$state/containerd/config.toml"
    await containerd 30 ctr_own version
}

write_containerd_config() {
    mkdir -p "$state/containerd/cni"
    cat >"$state/containerd/config.toml" <<END
version = 2
root = "$state/containerd/root"
state = "$state/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$base_image"
  # Without CAP_SYS_RESOURCE, as in many virtual machines, a lower oom_score_adj cannot be set.
  restrict_oom_score_adj = true
  # So the network namespaces lie among our own mounts, and go with them.
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$state/containerd/cni"
END
    cat >"$state/containerd/cni/10-pods.conflist" <<END
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge",
    "bridge": "$pod_link",
    "isGateway": true,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "dataDir": "$state/containerd/state/addresses",
      "ranges": [[{"subnet": "$pod_range"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
END
}

# Serves as the sandbox of all pods, which only has to wait, and as the shell that makes and removes volumes.
import_base_image() {
    local work config
    work=$(mktemp -d)
    mkdir -p "$work/root"/{bin,tmp}
    cp "$(command -v busybox)" "$work/root/bin/busybox"
    "$work/root/bin/busybox" --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$work/root/bin/$applet"
    done
    tar --create --file "$work/layer.tar" --directory "$work/root" --owner 0 --group 0 --sort name --mtime @0 .
    config=$(jq -n --arg layer "sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)" --arg arch "$(dpkg --print-architecture)" \
        '{architecture: $arch, os: "linux", rootfs: {type: "layers", diff_ids: [$layer]},
          config: {Env: ["PATH=/bin"], Entrypoint: ["/bin/sleep", "2147483647"]}}')
    echo "$config" >"$work/config.json"
    jq -n --arg name "$base_image" '[{Config: "config.json", RepoTags: [$name], Layers: ["layer.tar"]}]' >"$work/manifest.json"
    tar --create --directory "$work" manifest.json config.json layer.tar | ctr_own images import - >"$logs/base-image.log" 2>&1 ||
        fail base-image "not imported"
    rm -rf "$work"
}

# Ends every container of ours, also where the kubelet or containerd itself has died before. The images stay.
remove_pods() {
    kill_shims
    [ -d "$state/containerd/root" ] || return 0
    if ! running containerd; then
        mkdir -p "$logs" "$run"
        write_containerd_config
        launch_containerd
    fi
    local -a containers
    mapfile -t containers < <(ctr_own containers ls -q)
    if [ ${#containers[@]} -gt 0 ]; then
        ctr_own containers rm "${containers[@]}" >"$logs/remove-pods.log" 2>&1 || fail remove-pods "containers remain"
    fi
    rm -rf "$state/containerd/root/io.containerd.grpc.v1.cri"
}

# A pod's processes live in the kubelet's control group, and its shim names our socket as an argument.
kill_shims() {
    local pid
    for pid in $(pod_processes) $(shims); do
        kill -s KILL "$pid" 2>/dev/null || true
    done
    for _ in {1..50}; do
        [ -n "$(pod_processes)$(shims)" ] || break
        sleep 0.1
    done
    find /sys/fs/cgroup -depth -type d -path "*/$cgroup/*" -exec rmdir {} + 2>/dev/null || true
    find /sys/fs/cgroup -maxdepth 2 -type d -name "$cgroup" -exec rmdir {} + 2>/dev/null || true
}

shims() {
    local file
    local -a arguments
    for file in /proc/[0-9]*/cmdline; do
        # The file of a process that ends meanwhile is gone.
        { mapfile -d '' arguments <"$file"; } 2>/dev/null || continue
        if [[ ${arguments[0]:-} == *containerd-shim* && " ${arguments[*]} " == *" -address $socket "* ]]; then
            basename "${file%/cmdline}"
        fi
    done
}

pod_processes() {
    find /sys/fs/cgroup -path "*/$cgroup/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u || true
}
