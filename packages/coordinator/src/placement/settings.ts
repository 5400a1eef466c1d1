/**
 * The limits a person has set, over the defaults.
 *
 *   API --set--> [settings] --> records; the line and the estimates ask here
 */
import type { LimitsRequest, MoveLimits } from '@godwit/protocol';
import { limitsRequest } from '@godwit/protocol/http-api';
import type { Records } from '../records.ts';
import { MOVE_LIMITS_DEFAULT } from './limits.ts';

const KEY = 'moves';

export class Settings {
  readonly #records: Records;

  constructor(records: Records) {
    this.#records = records;
  }

  get moves(): MoveLimits {
    return { ...MOVE_LIMITS_DEFAULT, ...this.#records.settings.get(KEY) };
  }

  /** What is not given stays as it is. */
  async setMoves(input: LimitsRequest): Promise<MoveLimits> {
    const { perHost, perCluster } = limitsRequest.parse(input);
    await this.#records.settings.update(KEY, (before) => ({
      ...before,
      ...(perHost !== undefined && { perHost }),
      ...(perCluster !== undefined && { perCluster }),
    }));
    return this.moves;
  }
}
