# shellcheck shell=bash
# Provider: the parts of Kubernetes as processes of this machine, one node, no Docker. Linux as root.
# All state is in one folder; a start after an end, a crash or a reboot begins with an empty cluster, but keeps
# the images.

state=$cache/native
logs=$state/logs
run=$state/run
node=node1
address=10.255.0.1

# shellcheck source=native/process.sh
source "$here/native/process.sh"
# shellcheck source=native/packages.sh
source "$here/native/packages.sh"
# shellcheck source=native/certificates.sh
source "$here/native/certificates.sh"
# shellcheck source=native/network.sh
source "$here/native/network.sh"
# shellcheck source=native/containers.sh
source "$here/native/containers.sh"
# shellcheck source=native/components.sh
source "$here/native/components.sh"

up() {
    as_root
    lock
    if healthy; then
        return
    fi
    setup
    bin=$("$here/binaries.sh")
    clean
    # Two short socket paths lie in this folder, and a socket path is at most 107 bytes.
    [ ${#state} -le 60 ] || die "$state is too long a path: set BACKFILL_CACHE to a shorter one"
    mkdir -p "$logs" "$run"
    echo "$bin" >"$state/bin"
    local began=$SECONDS
    free_ports
    make_certificates
    network_up
    start_containerd
    start_control_plane
    start_node
    start_addons
    echo "cluster: node $node is ready after $((SECONDS - began)) s" >&2
}

down() {
    as_root
    lock
    clean
}

setup() {
    install_packages
}

load() {
    as_root
    running containerd || die "the cluster is not running: 'cluster up' first"
    local image
    for image in "$@"; do
        "$here/image" --load "$image"
    done
}

kubeconfig() {
    echo "$state/admin.kubeconfig"
}

as_root() {
    [ "$(id -u)" = 0 ] || die "the native provider needs root"
}

# One command at a time changes the cluster. The descriptor is closed in what is started (see start).
lock() {
    mkdir -p "$state"
    exec 9>"$state/lock"
    flock 9
}

# Cheap, so that tests can say 'up' each time.
healthy() {
    [ -e "$state/bin" ] || return 1
    bin=$(<"$state/bin")
    local name
    for name in "${all_processes[@]}"; do
        running "$name" || return 1
    done
    kube get --raw /readyz >/dev/null 2>&1 && node_ready
}

# Ends exactly what up started, whatever is left of it, and all that it made on this machine.
clean() {
    stop "${all_processes[@]/#containerd/}"
    remove_pods
    stop containerd
    unmount_all
    network_down
    remove_state
}

unmount_all() {
    local mount
    while read -r mount; do
        umount "$mount" 2>/dev/null || umount --lazy "$mount"
    done < <(mounts | sort -r)
}

mounts() {
    # Field 5 of mountinfo; the kernel writes a blank as \040.
    awk -v state="$state/" 'index($5, state) == 1 { print $5 }' /proc/self/mountinfo | while read -r mount; do printf '%b\n' "$mount"; done
}

remove_state() {
    [ -z "$(mounts)" ] || die "still mounted below $state: $(mounts | head -3)"
    rm -rf --one-file-system "${state:?}"/{etcd,kubelet,volumes,pod-logs,containerd/state,bin}
    [ ! -d /var/log/containers ] || find /var/log/containers -lname "$state/*" -delete
}
