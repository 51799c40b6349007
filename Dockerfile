# thresherd and thresher in two stages, from the same package lists as the
# quickstart and CI.
#
#   docker build -t thresher .
#   docker run -p 127.0.0.1:7700:7700 -p 127.0.0.1:7701:7701 -v thresher:/var/lib/thresher thresher
#
# Flags after the image's name are added to thresherd's; the last of a repeated
# flag counts. Without a Docker engine: deploy/build_image_without_docker.sh

FROM debian:bookworm-slim AS build
WORKDIR /src
# The packages first: they change rarely, and this layer is the slow one.
COPY deploy/packages/ deploy/packages/
COPY deploy/install_packages.sh deploy/shell.sh deploy/
RUN deploy/install_packages.sh build
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake/ cmake/
COPY proto/ proto/
COPY core/ core/
COPY server/ server/
COPY client/ client/
ARG THRESHER_COMMIT=
ARG THRESHER_WERROR=OFF
RUN cmake --preset release -DTHRESHER_BUILD_TESTS=OFF -DTHRESHER_WERROR="$THRESHER_WERROR" \
      -DTHRESHER_COMMIT="$THRESHER_COMMIT" \
 && cmake --build --preset release --target thresherd thresher \
 && mkdir /programs \
 && strip -o /programs/thresherd build/server/thresherd \
 && strip -o /programs/thresher build/client/thresher

FROM debian:bookworm-slim
COPY deploy/packages/run.txt /opt/thresher/packages/
COPY deploy/install_packages.sh deploy/shell.sh /opt/thresher/
RUN /opt/thresher/install_packages.sh run \
 && rm -rf /opt/thresher /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
 && groupadd --gid 65532 thresher \
 && useradd --key UID_MAX=65532 --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/thresher \
      --shell /usr/sbin/nologin thresher \
 && install -d -o thresher -g thresher -m 0750 /var/lib/thresher
COPY --from=build /programs/ /usr/local/bin/
COPY LICENSE /usr/share/doc/thresher/LICENSE

USER 65532:65532
VOLUME /var/lib/thresher
# gRPC and /metrics. Inside the container they listen on every address; publish
# them no further than you mean to.
EXPOSE 7700 7701
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["thresher", "health"]
# SIGTERM checkpoints and requeues the running jobs: give it time (docker stop -t 30).
STOPSIGNAL SIGTERM
ENTRYPOINT ["thresherd", "--listen_address=0.0.0.0:7700", "--metrics_address=0.0.0.0:7701", "--data_dir=/var/lib/thresher"]
