# The image of every part: coordinator, agents, command line and demo are one program by its arguments.
#
#   build    installs everything, compiles the wasm core, then drops what only building needs
#   linux    makes the image that guests boot from, of the distribution's own packages, through apt;
#            signature and digests are checked. None is made with --build-arg LINUX_IMAGE=
#   final    Node, the sources, the packages they import; no compiler, no package manager's cache,
#            and not root
#
# `docker compose up` builds it; by hand: docker build --tag godwit .
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY packages/protocol/package.json packages/protocol/
COPY packages/machine/package.json packages/machine/
COPY packages/images/package.json packages/images/
COPY packages/agent/package.json packages/agent/
COPY packages/coordinator/package.json packages/coordinator/
COPY packages/cli/package.json packages/cli/
# Without scripts: the image has its Node already, and the wasm core is built below, from sources.
RUN npm ci --ignore-scripts --no-fund --no-audit
COPY . .
RUN npm run prepare \
  && npm prune --omit=dev --ignore-scripts --no-fund --no-audit \
  && rm -rf packages/*/test packages/machine/assembly/build node_modules/.cache

FROM ${NODE_IMAGE} AS linux
ARG LINUX_IMAGE=debian-13
COPY --from=build /app /app
RUN install -d /images \
  && if [ -n "$LINUX_IMAGE" ]; then \
    node /app/packages/cli/bin/godwit.js image pull "$LINUX_IMAGE" --image-dir /images; \
  fi

FROM ${NODE_IMAGE}
# The ids are fixed, so that volumes stay readable when the image is built anew.
RUN groupadd --system --gid 10001 godwit \
  && useradd --system --uid 10001 --gid godwit --home-dir /var/lib/godwit --shell /usr/sbin/nologin godwit \
  && install -d -o godwit -g godwit -m 0700 /var/lib/godwit /run/godwit /var/cache/godwit
COPY --from=build /app /app
# Hosts keep here what they fetch from each other, so it is theirs; what was made above is in every one.
COPY --from=linux --chown=godwit:godwit /images /var/lib/godwit-images
RUN ln -s /app/packages/cli/bin/godwit.js /usr/local/bin/godwit
ENV NODE_ENV=production \
  NODE_COMPILE_CACHE=/var/cache/godwit \
  GODWIT_IMAGE_DIR=/var/lib/godwit-images \
  GODWIT_TOKEN_FILE=/run/godwit/token
WORKDIR /var/lib/godwit
USER godwit
ENTRYPOINT ["godwit"]
CMD ["--help"]
