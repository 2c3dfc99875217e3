# A node with containerd 2.4 as its own release archives install it: under /usr/local, unit included.
ARG BASE
FROM ${BASE}
RUN dpkg --remove --force-depends containerd && rm -rf /etc/systemd/system/containerd.service.d
COPY bin/ /usr/local/bin/
COPY node/containerd-2.4.service /usr/local/lib/systemd/system/containerd.service
COPY node/config-2.4.toml /etc/containerd/config.toml
RUN systemctl enable containerd
