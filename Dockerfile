FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    STUDIO_HOST=0.0.0.0 \
    STUDIO_PORT=7860

RUN useradd --create-home --uid 1000 studio
WORKDIR /app

# The packages first: they change seldom, so that a changed line of ours rebuilds in seconds.
COPY requirements.txt ./
RUN pip install -r requirements.txt

COPY studio_app.py ./
COPY studio ./studio
COPY workflows ./workflows
RUN mkdir data outputs logs && chown studio:studio data outputs logs

USER studio
EXPOSE 7860
VOLUME ["/app/data", "/app/outputs"]

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['STUDIO_PORT'] + '/api/health', timeout=4)"]

CMD ["python", "studio_app.py"]
