# Two stages: wheels are built in the first, the second holds only what runs, as a user without rights.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY config config
COPY tasks tasks
COPY worker worker
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
RUN useradd --system --create-home --home-dir /var/lib/releve releve
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links=/wheels releve && rm -rf /wheels
USER releve
WORKDIR /var/lib/releve
CMD ["releve", "--help"]
