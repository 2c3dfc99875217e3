# A node with Debian's containerd 1.7.
ARG BASE
FROM ${BASE}
COPY bin/ /usr/local/bin/
COPY node/kubelet.service node/kube-proxy.service node/prepare-node.service node/apply-routes.service /usr/local/lib/systemd/system/
COPY node/containerd-after-prepare.conf /etc/systemd/system/containerd.service.d/10-after-prepare-node.conf
COPY node/prepare-node node/apply-routes /usr/local/libexec/
COPY node/config-1.7.toml /etc/containerd/config.toml
COPY node/hosts.toml /etc/containerd/certs.d/docker.io/hosts.toml
RUN chmod 755 /usr/local/libexec/prepare-node /usr/local/libexec/apply-routes \
 && systemctl enable containerd kubelet kube-proxy prepare-node apply-routes \
 # Nothing that only a machine with a person in front of it needs.
 && systemctl mask console-getty.service e2scrub_reap.service e2scrub_all.timer \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer
