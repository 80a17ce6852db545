// Package storagemigration has objects written anew in the version that they are
// stored in now, for those who ask for it by a StorageVersionMigration.
//
// One migration of a resource runs at a time, the oldest first. It notes the revision
// at which it begins and touches every object that is no younger: a write without a
// change is enough. A definition of a custom kind tells that it is being migrated, and
// afterwards names no stored version but the current one, unless it was changed
// meanwhile.
package storagemigration
