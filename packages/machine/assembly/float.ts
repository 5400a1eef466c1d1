/**
 * The floating-point arithmetic alone, as a module of functions from bits to bits, for tests and timing.
 *
 * tests -> [float] -> float-fast, float-arithmetic, float-convert, float-compare
 *
 * One function for each instruction of F (`S`) and D (`D`); those with `Soft` skip the short cuts. It
 * needs no memory of a guest.
 */
import { addSoft, divSoft, mulAddSoft, mulSoft, sqrtSoft } from './float-arithmetic';
import { classify, equal, less, lessOrEqual, maximum, minimum } from './float-compare';
import { convert, fromInteger, toInteger, toIntegerFast } from './float-convert';
import { add, div, mul, mulAdd, narrow, squareRoot, sub, widen } from './float-fast';
import { fp } from './float-format';

/** Sets rounding mode and flags for the next operation. */
export function begin(mode: u32, flags: u32): void {
  fp.mode = mode;
  fp.flags = flags;
}
export function flags(): u32 { return fp.flags; }

export function addS(a: u64, b: u64): u64 { return add<f32>(a, b); }
export function subS(a: u64, b: u64): u64 { return sub<f32>(a, b); }
export function mulS(a: u64, b: u64): u64 { return mul<f32>(a, b); }
export function divS(a: u64, b: u64): u64 { return div<f32>(a, b); }
export function addSoftS(a: u64, b: u64): u64 { return addSoft<f32>(a, b); }
export function mulSoftS(a: u64, b: u64): u64 { return mulSoft<f32>(a, b); }
export function divSoftS(a: u64, b: u64): u64 { return divSoft<f32>(a, b); }
export function minS(a: u64, b: u64): u64 { return minimum<f32>(a, b); }
export function maxS(a: u64, b: u64): u64 { return maximum<f32>(a, b); }
export function eqS(a: u64, b: u64): u64 { return equal<f32>(a, b); }
export function ltS(a: u64, b: u64): u64 { return less<f32>(a, b); }
export function leS(a: u64, b: u64): u64 { return lessOrEqual<f32>(a, b); }
export function sqrtS(a: u64): u64 { return squareRoot<f32>(a); }
export function sqrtSoftS(a: u64): u64 { return sqrtSoft<f32>(a); }
export function classS(a: u64): u64 { return classify<f32>(a); }
export function maddS(a: u64, b: u64, c: u64): u64 { return mulAdd<f32>(a, b, c); }
export function maddSoftS(a: u64, b: u64, c: u64): u64 { return mulAddSoft<f32>(a, b, c); }
export function toWS(a: u64): u64 { return toIntegerFast<f32, i32>(a); }
export function toWSoftS(a: u64): u64 { return toInteger<f32, i32>(a); }
export function fromWS(x: u64): u64 { return fromInteger<f32, i32>(x); }
export function toWUS(a: u64): u64 { return toIntegerFast<f32, u32>(a); }
export function toWUSoftS(a: u64): u64 { return toInteger<f32, u32>(a); }
export function fromWUS(x: u64): u64 { return fromInteger<f32, u32>(x); }
export function toLS(a: u64): u64 { return toIntegerFast<f32, i64>(a); }
export function toLSoftS(a: u64): u64 { return toInteger<f32, i64>(a); }
export function fromLS(x: u64): u64 { return fromInteger<f32, i64>(x); }
export function toLUS(a: u64): u64 { return toIntegerFast<f32, u64>(a); }
export function toLUSoftS(a: u64): u64 { return toInteger<f32, u64>(a); }
export function fromLUS(x: u64): u64 { return fromInteger<f32, u64>(x); }
export function addD(a: u64, b: u64): u64 { return add<f64>(a, b); }
export function subD(a: u64, b: u64): u64 { return sub<f64>(a, b); }
export function mulD(a: u64, b: u64): u64 { return mul<f64>(a, b); }
export function divD(a: u64, b: u64): u64 { return div<f64>(a, b); }
export function addSoftD(a: u64, b: u64): u64 { return addSoft<f64>(a, b); }
export function mulSoftD(a: u64, b: u64): u64 { return mulSoft<f64>(a, b); }
export function divSoftD(a: u64, b: u64): u64 { return divSoft<f64>(a, b); }
export function minD(a: u64, b: u64): u64 { return minimum<f64>(a, b); }
export function maxD(a: u64, b: u64): u64 { return maximum<f64>(a, b); }
export function eqD(a: u64, b: u64): u64 { return equal<f64>(a, b); }
export function ltD(a: u64, b: u64): u64 { return less<f64>(a, b); }
export function leD(a: u64, b: u64): u64 { return lessOrEqual<f64>(a, b); }
export function sqrtD(a: u64): u64 { return squareRoot<f64>(a); }
export function sqrtSoftD(a: u64): u64 { return sqrtSoft<f64>(a); }
export function classD(a: u64): u64 { return classify<f64>(a); }
export function maddD(a: u64, b: u64, c: u64): u64 { return mulAdd<f64>(a, b, c); }
export function maddSoftD(a: u64, b: u64, c: u64): u64 { return mulAddSoft<f64>(a, b, c); }
export function toWD(a: u64): u64 { return toIntegerFast<f64, i32>(a); }
export function toWSoftD(a: u64): u64 { return toInteger<f64, i32>(a); }
export function fromWD(x: u64): u64 { return fromInteger<f64, i32>(x); }
export function toWUD(a: u64): u64 { return toIntegerFast<f64, u32>(a); }
export function toWUSoftD(a: u64): u64 { return toInteger<f64, u32>(a); }
export function fromWUD(x: u64): u64 { return fromInteger<f64, u32>(x); }
export function toLD(a: u64): u64 { return toIntegerFast<f64, i64>(a); }
export function toLSoftD(a: u64): u64 { return toInteger<f64, i64>(a); }
export function fromLD(x: u64): u64 { return fromInteger<f64, i64>(x); }
export function toLUD(a: u64): u64 { return toIntegerFast<f64, u64>(a); }
export function toLUSoftD(a: u64): u64 { return toInteger<f64, u64>(a); }
export function fromLUD(x: u64): u64 { return fromInteger<f64, u64>(x); }
export function narrowD(a: u64): u64 { return narrow(a); }
export function narrowSoftD(a: u64): u64 { return convert<f64, f32>(a); }
export function widenS(a: u64): u64 { return widen(a); }
