# shellcheck shell=bash
# What the native provider and the image build need from the distribution.

# A command or file, and the Debian package that brings it.
needs=(
    containerd:containerd
    ctr:containerd
    runc:runc
    /usr/lib/cni/bridge:containernetworking-plugins
    /usr/lib/cni/host-local:containernetworking-plugins
    iptables:iptables
    nft:nftables
    ip:iproute2
    conntrack:conntrack
    socat:socat
    ethtool:ethtool
    busybox:busybox-static
    modprobe:kmod
    buildah:buildah
    mmdebstrap:mmdebstrap
    openssl:openssl
    jq:jq
    curl:curl
)

install_packages() {
    local -a missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing, and there is no apt-get to install them: ${missing[*]}"
    [ "$(id -u)" = 0 ] || die "missing; as root: apt-get install ${missing[*]}"
    echo "cluster: installing ${missing[*]}" >&2
    # A package that starts a daemon (containerd) must not fail where there is no init.
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$cache/apt.log" 2>&1; then
        tail -n 20 "$cache/apt.log" >&2
        die "apt-get could not install ${missing[*]} ($cache/apt.log)"
    fi
}

missing_packages() {
    local need
    for need in "${needs[@]}"; do
        command -v "${need%%:*}" >/dev/null || echo "${need##*:}"
    done | sort -u
}
