package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/apiserver/pkg/util/filesystem"

	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/process"
)

// Rotation is what came of a new encryption key.
type Rotation struct {
	Key string // its name
	// Done says that the server has written everything with it. Otherwise it
	// does so when it starts.
	Done bool
	// Retired is the file with the keys that nothing in the store needs any more.
	Retired string
}

// RotateEncryptionKey makes a new key and waits until the server, if it runs,
// has written all that is encrypted with it.
func RotateEncryptionKey(ctx context.Context, dir instance.Dir) (Rotation, error) {
	keys, err := openKeys(dir)
	if err != nil {
		return Rotation{}, err
	}
	r := Rotation{Retired: controlplane.RetiredEncryptionKeys(keys)}
	if r.Key, err = controlplane.RotateEncryptionKey(keys); err != nil {
		return r, fmt.Errorf("rotate the encryption key: %w", err)
	}
	if _, err := process.Find(dir.ServerProcess()); errors.Is(err, process.ErrNotRunning) {
		return r, nil
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	var stale int
	filesystem.WatchUntil(waiting, time.Second, controlplane.EncryptionKeyFile(keys), func() {
		if stale, err = controlplane.StaleEncryptionKeys(keys); err != nil || stale == 0 {
			stop()
		}
	}, nil)
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("not everything is written with the new key yet; the server goes on with it, see its log %s", dir.ServerLog())
	}
	r.Done = err == nil && stale == 0
	return r, err
}

// RotateTokenKey makes a new key that signs service account tokens. Tokens by
// the keys before stay good unless dropOld.
func RotateTokenKey(dir instance.Dir, dropOld bool) error {
	keys, err := openKeys(dir)
	if err != nil {
		return err
	}
	return keys.RotateServiceAccountKey(dropOld)
}

func openKeys(dir instance.Dir) (*pki.PKI, error) {
	if _, err := os.Stat(dir.PKI()); err != nil {
		return nil, fmt.Errorf("there is no cluster in %s: %w; start one with `sinawi up`, or name its --data-dir", dir, err)
	}
	return pki.Open(dir.PKI(), time.Now)
}
