package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock makes sure that one runtime at most works on c.Root. The lock goes with the
// process, however it ends.
func (c Config) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.Root, 0o700); err != nil {
		return nil, fmt.Errorf("create the runtime's directories: %w", err)
	}
	path := filepath.Join(c.Root, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the runtime's directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is locked", errRunning, path)
		}
		return nil, fmt.Errorf("lock the runtime's directory: %w", err)
	}
	return func() { f.Close() }, nil
}
