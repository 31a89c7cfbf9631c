# robench with the versions of constraints.txt and a CPU build of torch:
#   docker build -t robench . && docker run --rm -v "$PWD:/work" robench bench
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /robench
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY robench robench
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt '.[onnx]' \
    && useradd --create-home user && mkdir /work && chown user /work
USER user
WORKDIR /work
ENTRYPOINT ["robench"]
CMD ["--help"]
