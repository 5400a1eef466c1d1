/**
 * Public names of the HTTP API: requests, views, routes, events and the OpenAPI document.
 *
 * Apart from the package's mod.ts, which passes on the types only: the schemas bring a library with
 * them that no worker thread needs.
 */
export * from './events.ts';
export { openapiDocument } from './openapi.ts';
export * from './requests.ts';
export * from './routes.ts';
export * from './views.ts';
