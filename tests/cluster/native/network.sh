# shellcheck shell=bash
# The node's address, the pods' bridge and their way out. Everything lies in links and nftables tables of its own,
# so that taking it away touches nobody else's rules.

node_link=nodebr0
pod_link=cni0
pod_range=10.244.0.0/24

network_up() {
    # A node's address cannot be loopback, and the machine's own address may change.
    ip link add "$node_link" type bridge
    ip address add "$address/32" dev "$node_link"
    ip link set "$node_link" up
    sysctl -qw net.ipv4.ip_forward=1
    # A pod's answer to a pod of the same bridge must pass the rules that translate service addresses.
    modprobe -q br_netfilter || true
    sysctl -qw net.bridge.bridge-nf-call-iptables=1 ||
        die "the kernel has no br_netfilter: pods could not reach services"
    sysctl -qw fs.inotify.max_user_instances=1024
    nft -f - <<END
table ip backfill-operator {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr $pod_range ip daddr != $pod_range ip daddr != $address masquerade
    }
}
END
}

network_down() {
    local link family
    for link in "$pod_link" "$node_link"; do
        if ip link show "$link" >/dev/null 2>&1; then
            ip link delete "$link"
        fi
    done
    nft delete table ip backfill-operator 2>/dev/null || true
    for family in ip ip6; do
        nft delete table "$family" kube-proxy 2>/dev/null || true
    done
}

# Says who is in the way before a component fails on it.
free_ports() {
    local port taken
    for port in 53 6443 10250 10256 10257 10259 12379 12380; do
        # A resolver on loopback is not in the way of ours.
        taken=$(ss -Hltnp "sport = :$port" | grep -v ' 127\.[0-9.]*\(%lo\)\?:53 ' || true)
        [ -z "$taken" ] || die "port $port is in use: $taken"
    done
}
