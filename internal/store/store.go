package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// Options says where the data lies and how the member runs.
type Options struct {
	Dir    string       // the store's own directory; made when absent
	Logger *slog.Logger // nil discards

	// QuotaBytes bounds the database file; 0 is 8 GiB, the largest size that
	// etcd recommends.
	QuotaBytes int64
	// UnsafeNoFsync gives up durability for speed. For tests that build
	// large clusters only.
	UnsafeNoFsync bool
}

// Store is a running member.
type Store struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *os.File
	broken *breakdown
}

// Member tuning. The one member is told to elect itself (see startElected), so that
// the tick may be long: it wakes the process all the time that nothing happens.
const (
	tickMilliseconds     = 250
	electionMilliseconds = 10 * tickMilliseconds

	// Entries kept in memory for followers that lag. etcd's default of 10,000
	// holds tens of megabytes of values that nobody reads in one member.
	snapshotCount          = 1000
	snapshotCatchUpEntries = 100

	// How often watchers of what never changes learn how far the store has come.
	// It need only be well within the time after which revisions are forgotten;
	// whoever cannot wait asks.
	progressInterval = time.Minute
	// How often the database is written. The log is on disk before a write is
	// acknowledged; what the database lacks after a crash comes from there.
	commitInterval = 500 * time.Millisecond

	maxRequestBytes = 3 << 20 // an object of 1.5 MB, and its transaction
	defaultQuota    = 8 << 30
)

// Open starts the member and returns when it takes writes.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Dir == "" {
		return nil, errors.New("open store: no directory given")
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(opts.Dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	broken := newBreakdown()
	etcd, err := startElected(ctx, memberConfig(opts, broken), broken.done)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd in %s: %w", opts.Dir, err), lock.Close())
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case err = <-etcd.Err():
	case <-broken.done:
		err = broken.err
	case <-etcd.Server.StopNotify():
		err = errors.New("the member stopped")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		select {
		case <-broken.done: // it would wait for goroutines that are no more
		default:
			etcd.Close()
		}
		return nil, errors.Join(fmt.Errorf("start etcd in %s: %w", opts.Dir, err), lock.Close())
	}
	return &Store{etcd: etcd, client: v3client.New(etcd.Server), lock: lock, broken: broken}, nil
}

func memberConfig(opts Options, broken *breakdown) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "sinawi"
	cfg.Dir = filepath.Join(opts.Dir, "etcd")
	// Nothing listens: the only client is in this process. The URL is a name
	// that membership data needs, never dialled.
	self := url.URL{Scheme: "http", Host: "sinawi.invalid:2380"}
	cfg.ListenPeerUrls, cfg.ListenClientUrls = nil, nil
	cfg.AdvertisePeerUrls = []url.URL{self}
	cfg.AdvertiseClientUrls = []url.URL{self}
	cfg.InitialCluster = cfg.Name + "=" + self.String()

	cfg.TickMs = tickMilliseconds
	cfg.ElectionMs = electionMilliseconds
	cfg.InitialElectionTickAdvance = false
	cfg.SnapshotCount = snapshotCount
	cfg.SnapshotCatchUpEntries = snapshotCatchUpEntries
	cfg.MaxRequestBytes = maxRequestBytes
	cfg.QuotaBackendBytes = opts.QuotaBytes
	if cfg.QuotaBackendBytes == 0 {
		cfg.QuotaBackendBytes = defaultQuota
	}
	cfg.UnsafeNoFsync = opts.UnsafeNoFsync
	// The API server compacts, so that it knows which revisions are gone.
	cfg.AutoCompactionRetention = "0"
	cfg.WatchProgressNotifyInterval = progressInterval
	cfg.BackendBatchInterval = commitInterval
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(opts.Logger, broken))
	return cfg
}

// Client returns the process's client. It is closed by Close, by nobody else.
func (s *Store) Client() *clientv3.Client { return s.client }

// Done is closed when the store cannot go on: the disk is full or broken, or
// the database is corrupt. Err says what happened; nothing is acknowledged any
// more, and the process should stop.
func (s *Store) Done() <-chan struct{} { return s.broken.done }

// Err is why the store cannot go on, nil while it can.
func (s *Store) Err() error {
	select {
	case <-s.broken.done:
		return s.broken.err
	default:
		return nil
	}
}

// Close stops the member. All that was acknowledged is on disk already. After
// a breakdown there is nothing left to stop in order: goroutines of the member
// may have ended with its locks held, and only the end of the process frees
// its files.
func (s *Store) Close() error {
	if err := s.Err(); err != nil {
		return errors.Join(err, s.lock.Close())
	}
	err := s.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	s.etcd.Close()
	return errors.Join(err, s.lock.Close())
}

// lockDir takes the directory for this process. The kernel gives it back when
// the process dies, however it dies.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("the store in %s is in use by another process; stop it, or give this one another data directory", dir)
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

const (
	versionFile = "version"
	version     = "1"
)

// checkVersion refuses data that this program does not understand, and marks
// a new directory.
func checkVersion(dir string) error {
	file := filepath.Join(dir, versionFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "etcd", "member")); err == nil {
			return fmt.Errorf("%s holds data but %s is missing; restore the directory from a backup", dir, file)
		}
		return writeSynced(file, []byte(version+"\n"))
	}
	if err != nil {
		return fmt.Errorf("read the store's version: %w", err)
	}
	if got := string(trimNewline(data)); got != version {
		return fmt.Errorf("the store in %s has format %q and this program reads format %q; run the release that wrote it", dir, got, version)
	}
	return nil
}

func trimNewline(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		return b[:n-1]
	}
	return b
}

func writeSynced(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
