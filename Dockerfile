# One image for the worker and for the sandbox: which of them runs is the command. No setting and no secret is baked in.
# It needs no writable root, no capability and no user with a name: docs/deploy.md says what `make checks` tried of it.
ARG PYTHON=3.13-slim

FROM python:${PYTHON} AS build
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY requirements/run.txt requirements/run.txt
RUN python -m pip --python /venv/bin/python install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY migrations migrations
COPY schemas schemas
COPY sandbox sandbox
COPY ledger_client ledger_client
COPY worker worker
RUN python -m pip --python /venv/bin/python install --no-cache-dir --no-build-isolation --no-deps .
# what built it stays behind
RUN python -m pip --python /venv/bin/python uninstall --yes setuptools

FROM python:${PYTHON}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ledger Worker" \
      org.opencontainers.image.description="Moves commands from Kafka through a brokerage's API to outcomes, without losing, doubling or reordering any." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
RUN python -m pip uninstall --yes pip \
    && groupadd --gid 10001 ledger \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin ledger
COPY --from=build /venv /venv
# a number, so that Kubernetes can see that it is not root
USER 10001:10001
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 9464
STOPSIGNAL SIGTERM
# of `run`; what runs another command sets its own or none
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('LEDGER_HTTP_PORT', '9464') + '/livez', timeout=3)"]
ENTRYPOINT ["ledger-worker"]
CMD ["run"]
