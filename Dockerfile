# One image for the worker and for the sandbox: which of them runs is the command. No setting and no secret is baked in.
FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements/run.txt requirements/run.txt
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY migrations migrations
COPY schemas schemas
COPY sandbox sandbox
COPY ledger_client ledger_client
COPY worker worker
RUN /venv/bin/pip install --no-cache-dir --no-build-isolation --no-deps --editable .

FROM python:3.13-slim
RUN useradd --system --no-create-home ledger
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
USER ledger
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["ledger-worker"]
CMD ["run"]
