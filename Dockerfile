# syntax=docker/dockerfile:1
# Two stages: wheels are built in the first, the second holds only what runs, as a user without rights.
# No HEALTHCHECK here: what health means differs by service, docker-compose.yml says it for each.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY config config
COPY tasks tasks
COPY worker worker
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="Relève" \
      org.opencontainers.image.description="Keeps the measures of many Linky meters in CouchDB in step with Enedis." \
      org.opencontainers.image.licenses="MIT"
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    RELEVE_DATA_DIR=/var/lib/releve
# The number is fixed: volumes and secrets belong to it (worker/ops/secrets.py).
RUN groupadd --gid 10001 releve \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/releve --shell /usr/sbin/nologin releve \
 && install -d -o 10001 -g 10001 -m 0700 /ledger /var/lib/releve
# Compiled now: the file system is read-only later.
RUN --mount=from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels --root-user-action=ignore --compile releve
USER 10001:10001
WORKDIR /var/lib/releve
CMD ["releve", "--help"]
