# The compile stage. Where a binary is at hand already, `--build-context build=DIR` replaces it by a folder with
# out/backfill-operator.
FROM docker.io/library/rust:1.95-trixie AS build
# pg_query parses C headers with clang.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends clang libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin backfill-operator \
    && mkdir /out \
    && cp target/release/backfill-operator /out/

# What every image of ours stands on: the tools of PostgreSQL 17 and a user without rights.
FROM docker.io/library/debian:trixie-slim AS client
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /usr/share/doc /usr/share/man /usr/share/locale \
    && groupadd --gid 65532 backfill \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin backfill

FROM client
COPY --from=build /out/backfill-operator /usr/local/bin/
LABEL org.opencontainers.image.title="backfill-operator" \
      org.opencontainers.image.description="A Kubernetes operator that takes a PostgreSQL backfill from release check to feature flag, and always knows the way back" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/backfill-dev/backfill-operator"
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/backfill-operator"]
