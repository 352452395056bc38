# The three services, each alone in its image: one static binary, no shell, no user database, not root.
# Nothing is compiled here and nothing pulled: `just images` puts the binaries into dist/ first.
# ARCH is amd64 or arm64; IMAGE_VERSION, IMAGE_COMMIT and IMAGE_SOURCE say what the
# binaries were built from (scripts/static build-args).

FROM scratch AS producer-svc
ARG ARCH=amd64
ARG IMAGE_VERSION
ARG IMAGE_COMMIT
ARG IMAGE_SOURCE
LABEL org.opencontainers.image.title="producer-svc" \
      org.opencontainers.image.description="HTTP front door of an event-driven shop on Kafka" \
      org.opencontainers.image.version="$IMAGE_VERSION" \
      org.opencontainers.image.revision="$IMAGE_COMMIT" \
      org.opencontainers.image.source="$IMAGE_SOURCE" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY dist/linux-${ARCH}/producer-svc /producer-svc
ENV HTTP_ADDR=0.0.0.0:8080,0.0.0.0:8001,0.0.0.0:5000
EXPOSE 8080 8001 5000
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 CMD ["/producer-svc", "healthcheck"]
ENTRYPOINT ["/producer-svc"]

FROM scratch AS consumer-svc
ARG ARCH=amd64
ARG IMAGE_VERSION
ARG IMAGE_COMMIT
ARG IMAGE_SOURCE
LABEL org.opencontainers.image.title="consumer-svc" \
      org.opencontainers.image.description="Order processing, carts and statistics of an event-driven shop on Kafka" \
      org.opencontainers.image.version="$IMAGE_VERSION" \
      org.opencontainers.image.revision="$IMAGE_COMMIT" \
      org.opencontainers.image.source="$IMAGE_SOURCE" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY dist/linux-${ARCH}/consumer-svc /consumer-svc
ENV HTTP_ADDR=0.0.0.0:5003
EXPOSE 5003
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 CMD ["/consumer-svc", "healthcheck"]
ENTRYPOINT ["/consumer-svc"]

FROM scratch AS notifier-svc
ARG ARCH=amd64
ARG IMAGE_VERSION
ARG IMAGE_COMMIT
ARG IMAGE_SOURCE
LABEL org.opencontainers.image.title="notifier-svc" \
      org.opencontainers.image.description="Notifications and log collection of an event-driven shop on Kafka" \
      org.opencontainers.image.version="$IMAGE_VERSION" \
      org.opencontainers.image.revision="$IMAGE_COMMIT" \
      org.opencontainers.image.source="$IMAGE_SOURCE" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY dist/linux-${ARCH}/notifier-svc /notifier-svc
ENV HTTP_ADDR=0.0.0.0:8082
EXPOSE 8082
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 CMD ["/notifier-svc", "healthcheck"]
ENTRYPOINT ["/notifier-svc"]
