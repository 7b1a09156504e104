# Two stages: the first installs what requirements/ locks, by hash, and lists it; the second gets that folder and the
# list, downloads nothing, and runs as a user without rights.
# No HEALTHCHECK here: what health means differs by service, docker-compose.yml says it for each.
# `make digests` tells the digest: --build-arg BASE=python@sha256:...
ARG BASE=python:3.13-slim-bookworm
FROM ${BASE} AS build
WORKDIR /src
# run, or otel: the same and what tracing needs, which takes 2 MB of memory in each process.
ARG PACKAGES=run
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_ONLY_BINARY=:all:
COPY requirements requirements
RUN python -m venv /tools \
 && /tools/bin/pip install --require-hashes -r requirements/build.lock -r requirements/tools.lock
# Compiled now: the file system is read-only later.
RUN python -m venv --without-pip /opt/releve \
 && /tools/bin/pip --python /opt/releve/bin/python install --require-hashes --compile -r requirements/${PACKAGES}.lock
# The commit for `releve --version` and the label; empty where it is unknown, for there is no git in here:
# --build-arg SOURCE_COMMIT=$(git rev-parse HEAD)
ARG SOURCE_COMMIT=
COPY pyproject.toml setup.cfg setup.py README.md LICENSE ./
COPY config config
COPY tasks tasks
COPY worker worker
COPY simulator simulator
COPY drill drill
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /tools/bin/pip --python /opt/releve/bin/python install --no-deps --no-index --compile --find-links /wheels releve \
 && /tools/bin/pip --python /opt/releve/bin/python check \
 && mkdir /usr/share/releve \
 && /tools/bin/cyclonedx-py environment --output-reproducible -o /usr/share/releve/sbom.cdx.json /opt/releve/bin/python

FROM ${BASE}
ARG SOURCE_COMMIT=
LABEL org.opencontainers.image.title="Relève" \
      org.opencontainers.image.description="Keeps the measures of many Linky meters in CouchDB in step with Enedis." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.3.0" \
      org.opencontainers.image.revision="${SOURCE_COMMIT}"
ENV PATH=/opt/releve/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    RELEVE_DATA_DIR=/var/lib/releve
# The number is fixed: volumes and secrets belong to it (worker/ops/installation_secrets.py).
RUN groupadd --gid 10001 releve \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/releve --shell /usr/sbin/nologin releve \
 && install -d -o 10001 -g 10001 -m 0700 /ledger /var/lib/releve
COPY --from=build /opt/releve /opt/releve
COPY --from=build /usr/share/releve /usr/share/releve
USER 10001:10001
WORKDIR /var/lib/releve
CMD ["releve", "--help"]
