# The image of Serin: one binary, one configuration, no shell needed, nobody's home.
#
#   docker build -t serin .
#   docker run --rm --read-only -p 8080:8080 -v "$PWD/my-config:/etc/serin:ro" serin
#
# Nothing is written, so the root filesystem can be read-only. Probes are Kubernetes' business:
# /livez and /readyz on port 9901.

FROM rust:1.95-slim-bookworm AS build
# The allocator is built by its own makefile; the rest is what benches/pgo needs.
RUN apt-get update && apt-get install --yes --no-install-recommends make openssl python3 \
    && rm -rf /var/lib/apt/lists/* \
    && rustup component add llvm-tools
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY config ./config
COPY src ./src
COPY benches ./benches
# Built twice, the second time for the paths that requests take: some 5 % less CPU time for each.
# That sends requests for a minute and needs all crates anew, so no layer keeps them. In a hurry, or
# where the processor is emulated, `--build-arg PGO=no` builds once, as `cargo build --release` does.
ARG PGO=yes
RUN if [ "$PGO" = no ]; \
    then cargo build --locked --release && cp target/release/serin /serin; \
    else benches/pgo --output /serin; \
    fi && /serin --version

FROM debian:bookworm-slim
COPY --from=build /serin /serin
COPY config/serin.yaml /etc/serin/serin.yaml
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080 9901
ENTRYPOINT ["/serin"]
CMD ["run", "--config", "/etc/serin"]
