/**
 * How a guest ended by itself: what the machine left in the control words, in the words of the protocol.
 *
 *   machine (guestEnd) -> [guest ending] -> guest -> journal, consoles, coordinator
 */
export interface GuestEnding {
  readonly event: (typeof ENDINGS)[keyof typeof ENDINGS];
  readonly code: number;
  /** At a `stopAt`: SHA-256 of RAM and machine state. */
  readonly digest?: string;
}

export const ENDINGS = {
  'power-off': 'powerOff',
  reboot: 'reboot',
  tohost: 'exit',
  crash: 'crash',
  'stop-at': 'stopAt',
} as const;
