/**
 * A field of the message table as a schema of the HTTP API.
 *
 *   messages.ts (guestSpec, guestReport, roundReport ...) --> [from-table] --> views.ts
 *
 * What an agent says and the API passes on is described once, in the message table. Limits are not
 * repeated: the value came over the wire and was held against them there.
 */
import { z } from 'zod';
import type { Field, Fields, Infer, InferFields } from '../schema.ts';

export function fromField<const F extends Field>(field: F): z.ZodType<Infer<F>> {
  return schemaOf(field) as unknown as z.ZodType<Infer<F>>;
}

export function fromFields<const R extends Fields>(fields: R): z.ZodType<InferFields<R>> {
  return schemaOf({ type: 'record', fields }) as unknown as z.ZodType<InferFields<R>>;
}

function schemaOf(field: Field): z.ZodType {
  switch (field.type) {
    case 'uint':
      return z.int().min(0);
    case 'number':
      return z.number();
    case 'bool':
      return z.boolean();
    case 'text':
      return z.string();
    case 'oneOf':
      return z.enum(field.values);
    case 'list':
      return z.array(schemaOf(field.of));
    case 'record':
      return z.strictObject(
        Object.fromEntries(Object.entries(field.fields).map(([key, of]) => [key, schemaOf(of)])),
      );
    case 'optional':
      return schemaOf(field.of).optional();
    case 'bytes':
      throw new Error('bytes do not travel in JSON');
  }
}
