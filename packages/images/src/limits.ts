/**
 * What an archive may make us do. Packages come from a signed archive, and still every size in them is
 * a stranger's claim: it is held against these before a byte is taken for it.
 */

/** One package file: the kernel of a distribution with all modules is about 100 MiB. */
export const DEB_BYTES_MAX = 512 * 1024 * 1024;
/** What a package may unpack to; ten times the largest kernel package seen. */
export const UNPACKED_BYTES_MAX = 4 * 1024 * 1024 * 1024;
/** Files in one package. */
export const TAR_ENTRIES_MAX = 200_000;
/** A path, however it is written down (PATH_MAX of Linux). */
export const TAR_NAME_BYTES_MAX = 4096;
/** Extended headers hold a path and a few numbers. */
export const TAR_EXTENDED_BYTES_MAX = 65_536;
/** One file that is taken out of a package: the kernel is 31 MiB, with debug information ten times that. */
export const FILE_BYTES_MAX = 512 * 1024 * 1024;
/** Members of an ar archive: a package has three. */
export const AR_MEMBERS_MAX = 16;
/** An index of packages, unpacked: Debian's main has 60 MB. */
export const INDEX_BYTES_MAX = 512 * 1024 * 1024;
