/**
 * The commonest floating-point instructions, from decoded entries, when nothing has to be noted.
 *
 * execute -> [float-plain] -> false: the long way (float-instructions.ts), which does it all
 *
 * Plain is: FS is Dirty already, frm is RNE, and the result is ordinary (finite, not near underflow) and
 * exact, or NX is raised already. Then it changes nothing but its register. Programs that compute are
 * plain after their first inexact result and stay so. What proves not to be plain the long way computes
 * again from the start, so nothing may be written before that is known.
 */
import { mulAddSoft } from './float-arithmetic';
import { isExactProduct, twoSumError } from './float-fast';
import { fp, NX, RNE } from './float-format';
import { HART_F, HART_FCSR, HART_MSTATUS, HART_X } from './machine-map.ts';
import {
  DO_FADD_D, DO_FCVT_D_L, DO_FCVT_D_W, DO_FCVT_L_D, DO_FCVT_W_D, DO_FDIV_D, DO_FEQ_D, DO_FLE_D, DO_FLT_D,
  DO_FMADD_D, DO_FMSUB_D, DO_FMUL_D, DO_FMV_D_X, DO_FMV_X_D, DO_FNMADD_D, DO_FNMSUB_D, DO_FSGNJ_D,
  DO_FSGNJN_D, DO_FSGNJX_D, DO_FSQRT_D, DO_FSUB_D,
} from './operations';
import { MSTATUS_FS } from './status';

const FRM: u64 = 0xe0;
const SMALLEST_NORMAL: f64 = 2.2250738585072014e-308;
/** Conversions to integers of less than this are never out of range. */
const CAST_LIMIT: f64 = 2147483648;
const SIGN: u64 = 1 << 63;

/** FS is Dirty: a write of a register needs no note. */
@inline export function isDirty(h: usize): bool {
  return (load<u64>(h, HART_MSTATUS) & MSTATUS_FS) == MSTATUS_FS;
}

@inline function roundsToNearest(h: usize): bool { return !(load<u64>(h, HART_FCSR) & FRM); }
/** NX is raised: an inexact result raises nothing new. */
@inline function knowsInexact(h: usize): bool { return (load<u64>(h, HART_FCSR) & NX) != 0; }

// Operands of an entry (code.ts); registers here are those of the f file unless the name says x.
@inline function bits(h: usize, e: usize, operand: usize): u64 {
  return load<u64>(h + (<usize>load<u8>(e + operand) << 3), HART_F);
}
@inline function value(h: usize, e: usize, operand: usize): f64 {
  return load<f64>(h + (<usize>load<u8>(e + operand) << 3), HART_F);
}
@inline function x1(h: usize, e: usize): u64 { return load<u64>(h + (<usize>load<u8>(e, 2) << 3), HART_X); }
@inline function setBits(h: usize, e: usize, result: u64): bool {
  store<u64>(h + (<usize>load<u8>(e, 1) << 3), result, HART_F);
  return true;
}
@inline function setX(h: usize, e: usize, result: u64): bool {
  store<u64>(h + (<usize>load<u8>(e, 1) << 3), result, HART_X);
  return true;
}

/** Sums are exact where they would underflow, so they need to be finite only. */
@inline function setSum(h: usize, e: usize, a: f64, b: f64): bool {
  const sum = a + b;
  return abs<f64>(sum) < Infinity && (knowsInexact(h) || twoSumError<f64>(a, b, sum) == 0)
    && setBits(h, e, reinterpret<u64>(sum));
}

@inline function isOrdinary(result: f64): bool {
  return abs<f64>(result) < Infinity && abs<f64>(result) > SMALLEST_NORMAL;
}

@inline function setProduct(h: usize, e: usize): bool {
  const product = value(h, e, 2) * value(h, e, 3);
  return isOrdinary(product) && (knowsInexact(h) || isExactProduct<f64>(bits(h, e, 2), bits(h, e, 3)))
    && setBits(h, e, reinterpret<u64>(product));
}

/** A quotient or a root. */
@inline function setInexact(h: usize, e: usize, result: f64): bool {
  return isOrdinary(result) && knowsInexact(h) && setBits(h, e, reinterpret<u64>(result));
}

/** Fused multiply-add; what it raises beside NX is left to the long way. */
@inline function multiplyAdd(h: usize, e: usize, productSign: u64, addendSign: u64): bool {
  const c = load<u64>(h + (<usize>(load<u32>(e, 4) >> 8) << 3), HART_F) ^ addendSign;
  fp.mode = RNE;
  fp.flags = 0;
  const result = mulAddSoft<f64>(bits(h, e, 2) ^ productSign, bits(h, e, 3), c);
  return (!fp.flags || (fp.flags == NX && knowsInexact(h))) && setBits(h, e, result);
}

/** Of numbers; a NaN may have to signal. */
@inline function compare(h: usize, e: usize, holds: bool): bool {
  const a = value(h, e, 2);
  const b = value(h, e, 3);
  return a == a && b == b && setX(h, e, <u64>holds);
}

/** Towards zero, as C casts. */
@inline function cast(h: usize, e: usize): bool {
  const a = value(h, e, 2);
  if (!(abs<f64>(a) < CAST_LIMIT)) return false;
  const whole = <i64>a;
  return (<f64>whole == a || knowsInexact(h)) && setX(h, e, <u64>whole);
}

/** An integer that a double surely holds. */
@inline function isShort(x: u64): bool { return x + (1 << 52) < 1 << 53; }

/** False: not so plain, and nothing has changed. */
export function plainFloat(h: usize, e: usize): bool {
  if (!isDirty(h) || !roundsToNearest(h)) return false;
  switch (<i32>load<u8>(e)) {
    case DO_FADD_D: return setSum(h, e, value(h, e, 2), value(h, e, 3));
    case DO_FSUB_D: return setSum(h, e, value(h, e, 2), -value(h, e, 3));
    case DO_FMUL_D: return setProduct(h, e);
    case DO_FDIV_D: return setInexact(h, e, value(h, e, 2) / value(h, e, 3));
    case DO_FSQRT_D: return setInexact(h, e, sqrt<f64>(value(h, e, 2)));
    case DO_FMADD_D: return multiplyAdd(h, e, 0, 0);
    case DO_FMSUB_D: return multiplyAdd(h, e, 0, SIGN);
    case DO_FNMSUB_D: return multiplyAdd(h, e, SIGN, 0);
    case DO_FNMADD_D: return multiplyAdd(h, e, SIGN, SIGN);
    case DO_FSGNJ_D: return setBits(h, e, bits(h, e, 2) & ~SIGN | bits(h, e, 3) & SIGN);
    case DO_FSGNJN_D: return setBits(h, e, bits(h, e, 2) & ~SIGN | ~bits(h, e, 3) & SIGN);
    case DO_FSGNJX_D: return setBits(h, e, bits(h, e, 2) ^ bits(h, e, 3) & SIGN);
    case DO_FEQ_D: return compare(h, e, value(h, e, 2) == value(h, e, 3));
    case DO_FLT_D: return compare(h, e, value(h, e, 2) < value(h, e, 3));
    case DO_FLE_D: return compare(h, e, value(h, e, 2) <= value(h, e, 3));
    case DO_FCVT_D_W: return setBits(h, e, reinterpret<u64>(<f64><i32>x1(h, e)));
    case DO_FCVT_D_L: return (knowsInexact(h) || isShort(x1(h, e)))
      && setBits(h, e, reinterpret<u64>(<f64><i64>x1(h, e)));
    case DO_FCVT_W_D: case DO_FCVT_L_D: return cast(h, e);
    case DO_FMV_X_D: return setX(h, e, bits(h, e, 2));
    case DO_FMV_D_X: return setBits(h, e, x1(h, e));
  }
  return false;
}
