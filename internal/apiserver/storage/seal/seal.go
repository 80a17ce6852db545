package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/apiserver/pkg/util/filesystem"
)

// Options say what is sealed and with what.
type Options struct {
	KeyFile string
	// Config is an EncryptionConfiguration file. What it says nothing of is
	// sealed as without it. Optional.
	Config string
	// Sealed are the resources that are sealed with the keys of KeyFile.
	Sealed []schema.GroupResource
	// Places are where each resource lies in the store, whether it is served
	// or not: what lies there may have been sealed when it was.
	Places Places
	KV     clientv3.KV
	Log    *slog.Logger
}

// Places are the prefixes below which resources lie in the store.
type Places map[schema.GroupResource]string

// Sealing knows how each resource is encrypted.
type Sealing struct {
	o      Options
	config *configured // nil without a file
	custom func(context.Context) (Places, error)

	ring atomic.Pointer[opened]
	mu   sync.Mutex // one rewriting at a time
}

// opened is one state of the file of keys.
type opened struct {
	keys []Key
	value.Transformer
}

// Open reads the keys, and makes the first one where no sealed value needs
// another.
func Open(ctx context.Context, o Options) (*Sealing, error) {
	s := &Sealing{o: o}
	keys, err := readKeys(o.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.refuseWhenSealed(ctx); err != nil {
			return nil, err
		}
		keys = []Key{newKey(firstName)}
		err = writeKeys(o.KeyFile, keys)
	}
	if err != nil {
		return nil, fmt.Errorf("encryption key: %w", err)
	}
	s.ring.Store(&opened{keys, ring(keys)})
	if o.Config != "" {
		first, err := loadConfig(o.Config)
		if err != nil {
			return nil, err
		}
		s.config = &configured{file: o.Config}
		s.config.current.Store(first)
	}
	return s, nil
}

// For returns what encrypts a resource.
func (s *Sealing) For(r schema.GroupResource) value.Transformer {
	sealed := slices.Contains(s.o.Sealed, r)
	if !sealed && s.config == nil {
		return identity.NewEncryptCheckTransformer()
	}
	return &resource{s, r, sealed}
}

// Checks tell whether the services that hold keys answer.
func (s *Sealing) Checks() []healthz.HealthChecker {
	if s.config == nil {
		return nil
	}
	return []healthz.HealthChecker{healthz.NamedCheck("kms-providers", func(r *http.Request) error {
		var errs []error
		for _, check := range s.config.current.Load().checks {
			errs = append(errs, check.Check(r))
		}
		return errors.Join(errs...)
	})}
}

// resource encrypts the values of one resource.
type resource struct {
	s      *Sealing
	name   schema.GroupResource
	sealed bool
}

// TransformFromStorage implements value.Transformer. A value that was sealed
// before a file said otherwise is read, and is to be written anew.
func (r *resource) TransformFromStorage(ctx context.Context, data []byte, c value.Context) ([]byte, bool, error) {
	config := r.s.config.of(r.name)
	if bytes.HasPrefix(data, []byte(ownPrefix)) {
		out, stale, err := r.s.ring.Load().TransformFromStorage(ctx, data, c)
		if err == nil || config == nil {
			return out, stale || config != nil || !r.sealed, err
		}
	}
	switch {
	case config != nil:
		return config.TransformFromStorage(ctx, data, c)
	case r.sealed:
		return r.s.ring.Load().TransformFromStorage(ctx, data, c)
	}
	return identity.NewEncryptCheckTransformer().TransformFromStorage(ctx, data, c)
}

// TransformToStorage implements value.Transformer.
func (r *resource) TransformToStorage(ctx context.Context, data []byte, c value.Context) ([]byte, error) {
	switch config := r.s.config.of(r.name); {
	case config != nil:
		return config.TransformToStorage(ctx, data, c)
	case r.sealed:
		return r.s.ring.Load().TransformToStorage(ctx, data, c)
	}
	return identity.NewEncryptCheckTransformer().TransformToStorage(ctx, data, c)
}

func (s *Sealing) refuseWhenSealed(ctx context.Context) error {
	for _, r := range s.o.Sealed {
		// One value is enough: all are written the same way, but for those
		// from before sealing was on, which a restore may have left.
		got, err := s.o.KV.Get(ctx, s.o.Places[r], clientv3.WithPrefix(), clientv3.WithLimit(100))
		if err != nil {
			return fmt.Errorf("look for sealed values: %w", err)
		}
		for _, kv := range got.Kvs {
			if bytes.HasPrefix(kv.Value, []byte(ownPrefix)) {
				return fmt.Errorf("the store holds values encrypted with the key %s, which is missing; restore it from a backup, or delete what lies under %s", s.o.KeyFile, s.o.Places[r])
			}
		}
	}
	return nil
}

const (
	// lookAgain is how often the files are read where the kernel tells nothing
	// of changes, as on network file systems.
	lookAgain = time.Minute
	// tryAgain is how long after a failure values are written anew again.
	tryAgain = 10 * time.Second
)

// Run takes up new keys and providers, until ctx ends. It asks custom for the
// resources that are defined while the server runs.
func (s *Sealing) Run(ctx context.Context, custom func(context.Context) (Places, error)) error {
	s.custom = custom
	work, ctx := errgroup.WithContext(ctx)
	follow := func(file string, changed func() (bool, error)) {
		first := true
		work.Go(func() error {
			filesystem.WatchUntil(ctx, lookAgain, file, func() {
				news, err := changed()
				if err != nil {
					s.o.Log.ErrorContext(ctx, "changed encryption not taken", "file", file, "err", err)
				}
				if news || first && s.unfinished() {
					s.renew(ctx)
				}
				first = false
			}, func(err error) {
				s.o.Log.WarnContext(ctx, "encryption not followed", "file", file, "err", err)
			})
			return nil
		})
	}
	follow(s.o.KeyFile, s.reloadKeys)
	if s.config != nil {
		follow(s.o.Config, s.config.reload)
		defer func() { s.config.current.Load().end() }()
	}
	return work.Wait()
}

// unfinished says that values may be written otherwise than they should be.
func (s *Sealing) unfinished() bool { return s.config != nil || len(s.ring.Load().keys) > 1 }

func (s *Sealing) reloadKeys() (bool, error) {
	keys, err := readKeys(s.o.KeyFile)
	if err != nil {
		return false, fmt.Errorf("encryption key: %w", err)
	}
	before := s.ring.Load().keys
	s.ring.Store(&opened{keys, ring(keys)})
	return keys[0] != before[0], nil
}

// renew writes anew what is written otherwise than it should be, until all is
// done, and retires the keys that nothing needs any more.
func (s *Sealing) renew(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		err := s.renewOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.o.Log.ErrorContext(ctx, "values not written anew; trying again", "err", err)
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return
		}
	}
}

func (s *Sealing) renewOnce(ctx context.Context) error {
	newest := s.ring.Load().keys[0].Name
	// A resource that is defined from now on is written right from the start.
	custom, err := s.custom(ctx)
	if err != nil {
		return fmt.Errorf("look for custom resources: %w", err)
	}
	places := Places{}
	maps.Copy(places, custom)
	maps.Copy(places, s.o.Places)
	total := 0
	for r, place := range places {
		t, ok := s.For(r).(*resource)
		if !ok || !t.sealed && s.config.of(r) == nil {
			continue
		}
		n, err := rewrite(ctx, s.o.KV, place, t)
		total += n
		if err != nil {
			return err
		}
	}
	s.o.Log.InfoContext(ctx, "values written anew", "values", total, "key", newest)
	if err := retire(s.o.KeyFile, newest); err != nil {
		return fmt.Errorf("retire old encryption keys: %w", err)
	}
	return nil
}
