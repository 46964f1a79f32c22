# The image of Serin: one binary, one configuration, no shell needed, nobody's home.
#
#   docker build -t serin .
#   docker run --rm --read-only -p 8080:8080 -v "$PWD/my-config:/etc/serin:ro" serin
#
# Nothing is written, so the root filesystem can be read-only. Probes are Kubernetes' business:
# /livez and /readyz on port 9901.

FROM rust:1.95-slim-bookworm AS build
# The allocator is built by its own makefile.
RUN apt-get update && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# The dependencies alone, so that this layer stays until they change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
    && touch benches/decide.rs benches/reload.rs \
    && printf '//! Nothing yet.\n' >src/lib.rs \
    && printf '//! Nothing yet.\n\nfn main() {}\n' >src/main.rs \
    && cargo build --locked --release \
    && rm -r src

COPY config ./config
COPY src ./src
# Newer than what the layer above built.
RUN touch src/lib.rs src/main.rs \
    && cargo build --locked --release \
    && cp target/release/serin /serin \
    && /serin --version

FROM debian:bookworm-slim
COPY --from=build /serin /serin
COPY config/serin.yaml /etc/serin/serin.yaml
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080 9901
ENTRYPOINT ["/serin"]
CMD ["run", "--config", "/etc/serin"]
