# The control plane of one cluster: four systemd units in one container.
ARG BASE
FROM ${BASE}
COPY bin/ /usr/local/bin/
COPY control-plane/*.service /usr/local/lib/systemd/system/
COPY node/apply-routes.service /usr/local/lib/systemd/system/
COPY node/apply-routes /usr/local/libexec/
RUN chmod 755 /usr/local/libexec/apply-routes \
 && systemctl disable containerd.service \
 && systemctl enable etcd kube-apiserver kube-controller-manager kube-scheduler apply-routes
