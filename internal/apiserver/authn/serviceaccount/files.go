package serviceaccount

import (
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/util/filesystem"
	"k8s.io/client-go/util/keyutil"
)

// Files are where the keys lie, in PEM.
type Files struct {
	// Signing holds the private key that signs. Further keys after it prove
	// tokens that they signed before.
	Signing string
	// Verifying hold keys, private or public, that prove tokens.
	Verifying []string
}

// Load reads the keys.
func (f Files) Load() (*Keys, error) {
	data, err := os.ReadFile(f.Signing)
	if err != nil {
		return nil, fmt.Errorf("service account signing key: %w", err)
	}
	private, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return nil, fmt.Errorf("service account signing key %s: there is no private key in PEM in it: %w", f.Signing, err)
	}
	signing, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("service account signing key %s: a key of type %T cannot sign", f.Signing, private)
	}
	var retired []crypto.PublicKey
	for _, file := range append([]string{f.Signing}, f.Verifying...) {
		keys, err := keyutil.PublicKeysFromFile(file)
		if err != nil {
			return nil, fmt.Errorf("service account key file %s: %w", file, err)
		}
		for _, key := range keys {
			retired = append(retired, key)
		}
	}
	return NewKeys(signing, retired...)
}

// readAgain is how often files are read where the kernel tells nothing of
// changes, as on network file systems.
const readAgain = time.Minute

// Follow replaces keys by what the files hold whenever they change, until ctx
// ends. Files that cannot be read change nothing.
func (f Files) Follow(ctx context.Context, keys *Keys, log *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, file := range append([]string{f.Signing}, f.Verifying...) {
		group.Go(func() error {
			filesystem.WatchUntil(ctx, readAgain, file, func() {
				loaded, err := f.Load()
				switch {
				case err != nil:
					log.ErrorContext(ctx, "changed service account keys not taken", "err", err)
				case keys.Replace(loaded):
					log.InfoContext(ctx, "service account keys taken", "file", file, "keys", len(loaded.public()))
				}
			}, func(err error) {
				log.WarnContext(ctx, "service account keys not followed", "file", file, "err", err)
			})
			return nil
		})
	}
	return group.Wait()
}
