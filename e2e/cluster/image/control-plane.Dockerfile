# The control plane of one cluster: four systemd units in one container.
ARG BASE
FROM ${BASE}
COPY bin/ /usr/local/bin/
COPY control-plane/*.service /usr/local/lib/systemd/system/
COPY node/apply-routes.service /usr/local/lib/systemd/system/
COPY node/apply-routes /usr/local/libexec/
RUN chmod 755 /usr/local/libexec/apply-routes \
 && systemctl disable containerd.service \
 && systemctl enable etcd kube-apiserver kube-controller-manager kube-scheduler apply-routes \
 # Nothing that only a machine with a person in front of it needs.
 && systemctl mask console-getty.service e2scrub_reap.service e2scrub_all.timer \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer
