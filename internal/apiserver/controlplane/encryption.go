package controlplane

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
	"github.com/sinawi/sinawi/internal/apiserver/storage/seal"
	"github.com/sinawi/sinawi/internal/pki"
)

// encryptionKey is the file of the keys with which values are sealed.
const encryptionKey = "encryption.key"

// encryption seals secrets and what the options name.
func encryption(ctx context.Context, o Options, rows []resources.Resource) (*seal.Sealing, error) {
	places := map[schema.GroupResource]string{}
	for _, r := range rows {
		places[r.GroupVersion.WithResource(r.Plural).GroupResource()] = storage.Prefix + "/" + r.StoragePrefix + "/"
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
	return func(*plug.Host) (plug.Additions, error) {
		return plug.Additions{Hooks: []plug.Hook{{Name: "encryption at rest", Run: s.Run}}}, nil
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
