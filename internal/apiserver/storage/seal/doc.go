// Package seal encrypts what must not lie readable on disk: the values of
// secrets, and of whatever else is named. The format is upstream's secretbox
// provider, so an EncryptionConfiguration with the same key reads it; such a
// file may also say itself how what is encrypted.
//
// The keys are one file, readable by its owner only, made at the first start.
// Whoever has a backup of the store alone cannot read sealed values; whoever
// loses the key loses them, so a new key is never made where sealed values
// exist. Values that were written in the clear are read as they are and sealed
// at their next write.
//
// The first key of the file seals, all of them open. A key that is put before
// the others takes effect at once: the server writes every sealed value anew,
// those of custom resources too, proves that the store holds none by older
// keys, and moves those into a file of retired keys that nobody reads, for
// backups made before.
package seal
