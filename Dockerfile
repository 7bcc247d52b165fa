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

# What backups are rehearsed with: a server beside our binary, and the locales that databases sort by. A target of its own
# (`--target rehearsal`), so that the operator's image stays small. A database in another locale: --build-arg LOCALES.
FROM client AS server
ARG LOCALES="en_US en_GB en_AU en_CA en_IN de_DE de_AT de_CH fr_FR fr_BE fr_CH fr_CA nl_NL nl_BE es_ES es_MX it_IT pt_PT pt_BR pl_PL cs_CZ sk_SK hu_HU ro_RO bg_BG el_GR tr_TR ru_RU uk_UA sv_SE da_DK nb_NO fi_FI et_EE lv_LV lt_LT hr_HR sl_SI he_IL ar_EG hi_IN th_TH vi_VN id_ID ja_JP ko_KR zh_CN zh_TW"
# Without the compiler for queries (JIT) the image is half the size, and the server goes on without it.
RUN mkdir -p /etc/postgresql-common /usr/share/man/man1 /usr/share/man/man7 \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && apt-get update \
    && apt-get install --yes --no-install-recommends locales postgresql-17 \
    && for locale in $LOCALES; do echo "$locale.UTF-8 UTF-8"; done > /etc/locale.gen \
    && locale-gen \
    && rm -rf /usr/lib/postgresql/17/lib/bitcode /usr/lib/postgresql/17/lib/llvmjit* /usr/lib/*/libLLVM* /usr/lib/*/libz3* \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /usr/share/doc /usr/share/man /usr/share/locale /usr/share/i18n

FROM server AS rehearsal
COPY --from=build /out/backfill-operator /usr/local/bin/
LABEL org.opencontainers.image.title="backfill-operator-rehearsal" \
      org.opencontainers.image.description="The backfill operator with a PostgreSQL server: restores a backup into a scratch database, to prove that it can be restored" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/backfill-dev/backfill-operator"
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/backfill-operator"]

FROM client
COPY --from=build /out/backfill-operator /usr/local/bin/
LABEL org.opencontainers.image.title="backfill-operator" \
      org.opencontainers.image.description="A Kubernetes operator that takes a PostgreSQL backfill from release check to feature flag, and always knows the way back" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/backfill-dev/backfill-operator"
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/backfill-operator"]
