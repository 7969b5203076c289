# The daemon as PID 1 of a container; what that means stands in docs/operations.md.
#   docker build -t rekindle .
#   docker run --gpus all --stop-timeout 180 -v rekindle:/var/lib/rekindle rekindle
# TENSORFLOW=tensorflow for a box without GPU.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY daemon daemon
COPY jobs jobs
COPY state state
COPY systemd systemd
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TENSORFLOW=tensorflow[and-cuda]
COPY --from=build /wheels /wheels
# compiled at build time: a relaunch without bytecode takes twice as long
RUN pip install --no-cache-dir --compile "${TENSORFLOW}" /wheels/*.whl && rm -r /wheels \
    && useradd --system --create-home --home-dir /var/lib/rekindle rekindle \
    && install -d -o rekindle -g rekindle -m 2770 /var/lib/rekindle/inbox
USER rekindle
ENV REKINDLE_HOME=/var/lib/rekindle
VOLUME /var/lib/rekindle
STOPSIGNAL SIGTERM
# the exec form: no shell between docker's signals and the daemon
ENTRYPOINT ["rekindle"]
CMD ["run"]
