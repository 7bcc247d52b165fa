#!/usr/bin/env bash
# What a newer API server does by itself: it writes down who asked for a run and who edited it last (MutatingAdmissionPolicy),
# and its audit log has each decision. From 1.36 on that is so everywhere; here a second API server of the tests' version, with
# the feature switched on and an audit log, stands beside the cluster's, on the same etcd under a prefix of its own. It is
# ended afterwards. Needs the native cluster (KUBECONFIG), helm and kubectl on the PATH; elsewhere it is left out.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$(realpath -m "${BACKFILL_CACHE:-$HOME/.cache/backfill-operator}")
state=$cache/native
pki=$state/pki
port=17443
prefix=/names-test-$$
work=$(mktemp -d)
server=
trap end EXIT

dana=dana@example.org maria=maria@example.org olga=olga@example.org
argo=system:serviceaccount:argocd:argocd-application-controller
operator=system:serviceaccount:backfill-system:names-backfill-operator
first=sha256:$(printf '1%.0s' {1..64})
second=sha256:$(printf '2%.0s' {1..64})

end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$work"
}

fail() {
    echo "names.sh: $*" >&2
    exit 1
}

main() {
    if [ "$("$root/tests/cluster/cluster" provider)" != native ]; then
        echo "names.sh: left out: only the native cluster can have a second API server"
        return
    fi
    start_server
    install
    the_requester_is_written_down
    the_editor_is_written_down
    the_audit_log_has_each_decision
    echo "names.sh: all good"
}

start_server() {
    cat >"$work/audit.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, resources: [{group: backfill.dev, resources: [backfillruns]}]}, {level: None}]
END
    "$(<"$state/bin")/kube-apiserver" --etcd-servers http://127.0.0.1:12379 --etcd-prefix "$prefix" \
        --bind-address 127.0.0.1 --secure-port "$port" --advertise-address 10.255.0.1 --endpoint-reconciler-type none \
        --service-cluster-ip-range 10.97.0.0/16 --authorization-mode RBAC \
        --feature-gates MutatingAdmissionPolicy=true --runtime-config admissionregistration.k8s.io/v1beta1=true \
        --audit-policy-file "$work/audit.yaml" --audit-log-path "$work/audit.log" \
        --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$pki/service-accounts.pub" --service-account-signing-key-file "$pki/service-accounts.key" \
        --profiling=false >"$work/server.log" 2>&1 &
    server=$!
    sed "s|server: https://[^ ]*|server: https://127.0.0.1:$port|" "$KUBECONFIG" >"$work/kubeconfig"
    export KUBECONFIG=$work/kubeconfig
    wait_for 120 "the second API server is not ready: $(tail -n 5 "$work/server.log")" kubectl get --raw /readyz
}

wait_for() { # seconds, complaint, command…
    local end=$((SECONDS + $1)) complaint=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$server" 2>/dev/null || fail "the second API server has ended: $(tail -n 20 "$work/server.log")"
        [ "$SECONDS" -lt "$end" ] || fail "$complaint"
        sleep 0.5
    done
}

install() {
    kubectl create namespace staging >/dev/null
    kubectl create clusterrolebinding everything --clusterrole=cluster-admin --user="$dana" --user="$olga" --user="$maria" \
        --user="$argo" --user="$operator" >/dev/null
    helm template names "$root/charts/backfill-operator" --namespace backfill-system \
        --api-versions admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy \
        --show-only templates/crd.yaml --show-only templates/admission.yaml >"$work/rendered.yaml"
    grep --quiet "kind: MutatingAdmissionPolicy" "$work/rendered.yaml" || fail "the chart renders no MutatingAdmissionPolicy"
    kubectl apply --server-side --filename "$work/rendered.yaml" >/dev/null
    # Right after it is made, a definition has no conditions yet, and then kubectl does not wait.
    wait_for 60 "the definition is not served" kubectl wait --for=condition=Established --timeout=10s crd backfillruns.backfill.dev
    # A server takes a moment to have compiled a new policy.
    wait_for 60 "names are not written down" writes_names
    wait_for 60 "the validating policy is not in force" refuses_names
}

writes_names() {
    [ "$(manifest early | as "$dana" create --dry-run=server --filename - --output "jsonpath=$(annotation requested-by)")" = "$dana" ]
}

refuses_names() {
    manifest early | sed 's|^  name: .*|&\n  annotations: {backfill.dev/requested-by: other}|' >"$work/early.yaml"
    ! as "$dana" create --dry-run=server --filename "$work/early.yaml" 2>"$work/early" && grep --quiet "must be your own name" "$work/early"
}

as() { # user, kubectl arguments
    local user=$1
    shift
    kubectl --namespace staging --as "$user" "$@"
}

manifest() { # name
    sed "s|^  name: .*|  name: $1|; /^  namespace:/d; /requested-by/d; /^  annotations: *$/d; s|^metadata: .*|metadata:\n  name: $1|" "$root/examples/smallest/backfillrun.yaml"
}

annotation() { # name
    echo "{.metadata.annotations.backfill\.dev/$1}"
}

is() { # run, annotation, wanted
    local found
    found=$(kubectl --namespace staging get backfillrun "$1" --output "jsonpath=$(annotation "$2")")
    [ "$found" = "$3" ] || fail "$2 of $1 should be '$3' and is '$found'"
}

patch() { # user, run, patch
    as "$1" patch backfillrun "$2" --type merge --patch "$3" 2>&1
}

asks() { # run, digest
    local generation
    generation=$(kubectl --namespace staging get backfillrun "$1" --output 'jsonpath={.metadata.generation}')
    as "$operator" patch backfillrun "$1" --subresource status --type merge --patch "{\"status\": {\"observedGeneration\": $generation, \"approvalsRequired\": 1,
        \"awaiting\": {\"subject\": \"Plan\", \"digest\": \"$2\", \"question\": \"?\", \"required\": 1, \"command\": \"kubectl\",
        \"since\": \"2026-11-01T10:00:00Z\", \"deadline\": \"2026-11-04T10:00:00Z\"}}}" >/dev/null
}

approval() { # user, digest
    echo "{\"spec\": {\"approvals\": {\"$1\": {\"decision\": \"Approve\", \"digest\": \"$2\"}}}}"
}

refused() { # words, user, run, patch
    local words=$1 answer
    shift
    ! answer=$(patch "$@") || fail "taken, and should have been refused with: $words"
    grep --quiet --fixed-strings -- "$words" <<<"$answer" || fail "should be refused with: $words; the answer is: $answer"
}

the_requester_is_written_down() {
    manifest plain | as "$dana" apply --filename - >/dev/null
    is plain requested-by "$dana"
    asks plain "$first"
    refused "$dana asked for this run and cannot approve it" "$dana" plain "$(approval "$dana" "$first")"
    # By a GitOps controller: its account, which is no person to the operator.
    manifest in-git | as "$argo" apply --server-side --filename - >/dev/null
    is in-git requested-by "$argo"
    # Applied again as it stands in the file, the annotation is neither lost nor a conflict.
    manifest plain | as "$dana" apply --filename - >/dev/null
    is plain requested-by "$dana"
}

the_editor_is_written_down() {
    patch "$olga" plain '{"spec": {"suspend": true}}' >/dev/null
    is plain edited-by ""
    patch "$olga" plain '{"spec": {"suspend": null, "backup": {"maxAge": "5h"}}}' >/dev/null
    is plain edited-by "$olga"
    asks plain "$second"
    refused "$olga was the last to edit this run and cannot approve it" "$olga" plain "$(approval "$olga" "$second")"
    patch "$dana" plain '{"spec": {"backup": {"maxAge": "6h"}}}' >/dev/null
    is plain edited-by "$dana"
    is plain requested-by "$dana"
}

the_audit_log_has_each_decision() {
    asks plain "$second"
    patch "$maria" plain "$(approval "$maria" "$second")" >/dev/null
    # Those that were refused, too, with what came of them.
    local found wanted
    found=$(jq --raw-output --arg key names-backfill-operator-approvals/decision \
        'select(.annotations[$key]) | .annotations[$key] + (if .responseStatus.code == 200 then "" else ": refused" end)' "$work/audit.log")
    wanted="Approve by $dana of $first: refused
Approve by $olga of $second: refused
Approve by $maria of $second"
    [ "$found" = "$wanted" ] || fail "the audit log says: $found"
}

main
