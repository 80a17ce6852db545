package controlplane

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/apiserver/aggregate"
	"github.com/sinawi/sinawi/internal/apiserver/crd"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
	"github.com/sinawi/sinawi/internal/apiserver/storage/seal"
	"github.com/sinawi/sinawi/internal/pki"
)

// encryptionKey is the file of the keys with which values are sealed.
const encryptionKey = "encryption.key"

// encryption seals secrets and what the options name.
func encryption(ctx context.Context, o Options) (*seal.Sealing, error) {
	places := seal.Places{}
	for _, r := range resources.Table() {
		places[r.GroupVersion.WithResource(r.Plural).GroupResource()] = storage.Resource{KeyPrefix: r.StoragePrefix}.Place()
	}
	for _, r := range []storage.Resource{crd.DefinitionStorage(), aggregate.Storage()} {
		places[r.GroupResource] = r.Place()
	}
	// What else is named can only be a custom resource.
	for _, r := range o.Encrypt {
		if _, ok := places[r]; !ok {
			places[r] = crd.ResourceStorage(r).Place()
		}
	}
	return seal.Open(ctx, seal.Options{
		KeyFile: o.Keys.Path(encryptionKey),
		Config:  o.Guard.EncryptionConfig,
		Sealed:  append([]schema.GroupResource{{Resource: "secrets"}}, o.Encrypt...),
		Places:  places,
		KV:      o.Store.Client(),
		Log:     o.Logger,
	})
}

func keepSealing(s *seal.Sealing) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		custom := func(ctx context.Context) (seal.Places, error) {
			all, err := crd.Resources(ctx, h.Loopback)
			places := seal.Places{}
			for _, r := range all {
				places[r] = crd.ResourceStorage(r).Place()
			}
			return places, err
		}
		run := func(ctx context.Context) error { return s.Run(ctx, custom) }
		return plug.Additions{Hooks: []plug.Hook{{Name: "encryption at rest", Run: run}}}, nil
	}
}

func checkEncryption(file string) error { return seal.CheckConfig(file) }

// RotateEncryptionKey adds a key, with which a running server writes all sealed
// values anew, and returns its name. StaleEncryptionKeys tells when that is done.
func RotateEncryptionKey(keys *pki.PKI) (string, error) { return seal.Rotate(keys.Path(encryptionKey)) }

// StaleEncryptionKeys returns how many older keys values may still need.
func StaleEncryptionKeys(keys *pki.PKI) (int, error) { return seal.Pending(keys.Path(encryptionKey)) }

// EncryptionKeyFile holds the keys, and RetiredEncryptionKeys those that nothing
// in the store needs any more.
func EncryptionKeyFile(keys *pki.PKI) string { return keys.Path(encryptionKey) }

// RetiredEncryptionKeys is needed only to restore backups of before.
func RetiredEncryptionKeys(keys *pki.PKI) string { return seal.RetiredFile(keys.Path(encryptionKey)) }
