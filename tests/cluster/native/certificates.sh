# shellcheck shell=bash
# The certificates and kubeconfigs of the native cluster. Made once and kept, so that a kubeconfig in somebody's
# shell stays good over a restart.

pki=$state/pki

make_certificates() {
    [ ! -e "$pki/.complete" ] || return 0
    rm -rf "$pki"
    mkdir -p "$pki"
    chmod 700 "$pki"
    {
        key ca
        openssl req -x509 -new -key "$pki/ca.key" -subj /CN=backfill-operator-tests -days 3650 -out "$pki/ca.crt" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
        key service-accounts
        openssl ec -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub"
        certificate apiserver /CN=kube-apiserver serverAuth \
            "IP:127.0.0.1,IP:$address,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
        certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
        client admin /O=system:masters/CN=admin 127.0.0.1
        client controller-manager /CN=system:kube-controller-manager 127.0.0.1
        client scheduler /CN=system:kube-scheduler 127.0.0.1
        client kube-proxy /CN=system:kube-proxy 127.0.0.1
        client kubelet "/O=system:nodes/CN=system:node:$node" "$address"
    } >"$logs/certificates.log" 2>&1 || fail certificates "openssl failed"
    touch "$pki/.complete"
}

key() { # name
    (umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key")
}

certificate() { # name, subject, usage, alternative names
    key "$1"
    openssl req -new -key "$pki/$1.key" -subj "$2" -out "$pki/$1.csr"
    openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -out "$pki/$1.crt" \
        -extfile <(printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n%s' "$3" "${4:+subjectAltName=$4}")
}

client() { # name, subject, address of the server
    certificate "$1" "$2" clientAuth
    (umask 077 && cat >"$state/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters:
  - name: backfill-native
    cluster:
      server: https://$3:6443
      certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w0 "$pki/$1.crt")
      client-key-data: $(base64 -w0 "$pki/$1.key")
contexts:
  - name: backfill-native
    context: {cluster: backfill-native, user: $1}
current-context: backfill-native
END
    )
}
