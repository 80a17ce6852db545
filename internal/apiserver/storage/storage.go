// Package storage connects the registries of the API server to the store: one
// etcd client for all resources, a watch cache before each, and a tee between
// the two from which other parts of this process learn what changed.
package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/generic"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	flowcontrol "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/sinawi/sinawi/internal/apiserver/storage/steady"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Prefix is where all objects lie in the store, the same as upstream's.
const Prefix = "/registry"

// Resource says how one resource is stored.
type Resource struct {
	GroupResource schema.GroupResource
	Version       schema.GroupVersion // what is written
	KeyPrefix     string              // below Prefix: "pods"
	// NoCache reads from the store directly; for what is written often and
	// read seldom (events).
	NoCache bool
	// NoFeed keeps the resource out of the change feed.
	NoFeed bool
	// Filled waits until the watch cache is filled before the first request,
	// which would fail otherwise. For resources that come while serving.
	Filled bool
}

// Place is what the keys of a resource begin with in the store.
func (r Resource) Place() string { return Prefix + "/" + r.KeyPrefix + "/" }

// Backend makes the storage of every resource.
type Backend struct {
	client      *kubernetes.Client
	scheme      *runtime.Scheme
	codecs      serializer.CodecFactory
	compactor   compactor
	feed        *feed.Feed
	transformer func(schema.GroupResource) value.Transformer
	counts      flowcontrol.StorageObjectCountTracker

	mu   sync.Mutex // guards the field below
	open map[*func()]struct{}
}

// compactor forgets old revisions; etcd3 keeps its type to itself.
type compactor interface {
	etcd3.Compactor
	Stop()
}

// Options of a Backend; the zero value stores everything in the clear.
type Options struct {
	// Transformer encrypts the values of a resource.
	Transformer func(schema.GroupResource) value.Transformer
	// Counts learns how many objects there are, for fair queuing.
	Counts flowcontrol.StorageObjectCountTracker
}

const (
	compactionInterval  = 5 * time.Minute
	countInterval       = time.Minute
	fillTimeout         = 3 * time.Second
	eventsHistoryWindow = 75 * time.Second
)

// New returns a backend on client, to be closed. What direct can do is asked of it.
func New(client *clientv3.Client, direct kubernetes.Interface, scheme *runtime.Scheme, codecs serializer.CodecFactory, changes *feed.Feed, opts Options) *Backend {
	forgetPast()
	k := &kubernetes.Client{Client: client, Kubernetes: timed{direct}}
	k.KV = etcd3.NewETCDLatencyTracker(client.KV)
	return &Backend{
		client:      k,
		scheme:      scheme,
		codecs:      codecs,
		compactor:   etcd3.NewCompactor(client, compactionInterval, clock.RealClock{}, func() {}),
		feed:        changes,
		transformer: opts.Transformer,
		counts:      opts.Counts,
		open:        map[*func()]struct{}{},
	}
}

// Close stops compaction and every storage that its maker left open: upstream's
// handler of custom resources keeps the end of its own to itself. The client
// belongs to the store.
func (b *Backend) Close() {
	b.compactor.Stop()
	b.mu.Lock()
	left := slices.Collect(maps.Keys(b.open))
	b.mu.Unlock()
	for _, end := range left {
		(*end)()
	}
}

// owned returns a function that ends a storage once, and that Close calls too.
func (b *Backend) owned(end func()) func() {
	key := new(func())
	*key = sync.OnceFunc(func() {
		end()
		b.mu.Lock()
		delete(b.open, key)
		b.mu.Unlock()
	})
	b.mu.Lock()
	b.open[key] = struct{}{}
	b.mu.Unlock()
	return *key
}

// For returns the options with which a registry makes the storage of r.
func (b *Backend) For(r Resource) (generic.RESTOptions, error) {
	info, ok := runtime.SerializerInfoForMediaType(b.codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return generic.RESTOptions{}, fmt.Errorf("store %s: no protobuf serializer", r.GroupResource)
	}
	hub := schema.GroupVersion{Group: r.GroupResource.Group, Version: runtime.APIVersionInternal}
	versioner := runtime.NewMultiGroupVersioner(r.Version,
		schema.GroupKind{Group: r.Version.Group}, schema.GroupKind{Group: hub.Group})
	reader := &envelopes{Decoder: b.codecs.UniversalDeserializer(), scheme: b.scheme}
	codec := sparing(b.codecs.CodecForVersions(info.Serializer, reader, versioner, hub))
	return b.options(r, codec, versioner), nil
}

// ForCustomResources is For with a codec of the caller's: custom resources
// have no Go type.
func (b *Backend) ForCustomResources(r Resource, codec runtime.Codec) generic.RESTOptions {
	return b.options(r, codec, r.Version)
}

func (b *Backend) options(r Resource, codec runtime.Codec, versioner runtime.GroupVersioner) generic.RESTOptions {
	config := storagebackend.NewDefaultConfig(Prefix, codec)
	config.EncodeVersioner = versioner
	config.EventsHistoryWindow = eventsHistoryWindow
	config.StorageObjectCountTracker = b.counts
	if b.transformer != nil {
		config.Transformer = b.transformer(r.GroupResource)
	}
	return generic.RESTOptions{
		StorageConfig:             config.ForResource(r.GroupResource),
		Decorator:                 b.decorator(r),
		EnableGarbageCollection:   true,
		DeleteCollectionWorkers:   4,
		ResourcePrefix:            "/" + r.KeyPrefix,
		CountMetricPollPeriod:     countInterval,
		StorageObjectCountTracker: b.counts,
	}
}

// decorator returns what a registry calls to make its storage:
// registry → steady watches → cacher → tee → etcd3.
func (b *Backend) decorator(r Resource) generic.StorageDecorator {
	return func(
		config *storagebackend.ConfigForResource,
		prefix string,
		keyFunc func(runtime.Object) (string, error),
		newFunc, newListFunc func() runtime.Object,
		attrs apistorage.AttrFunc,
		triggers apistorage.IndexerFuncs,
		indexers *cache.Indexers,
	) (apistorage.Interface, factory.DestroyFunc, error) {
		raw, closeRaw, err := b.raw(config, newFunc, newListFunc, prefix)
		if err != nil {
			return nil, nil, fmt.Errorf("storage of %s: %w", r.GroupResource, err)
		}
		if r.NoCache {
			return raw, b.owned(closeRaw), nil
		}
		source := raw
		if !r.NoFeed {
			source = feed.Tee(raw, b.feed.Log(r.GroupResource), keyFunc)
		}
		c, err := cacher.NewCacherFromConfig(cacher.Config{
			Storage:             source,
			Versioner:           apistorage.APIObjectVersioner{},
			GroupResource:       r.GroupResource,
			EventsHistoryWindow: config.EventsHistoryWindow,
			ResourcePrefix:      prefix,
			KeyFunc:             keyFunc,
			NewFunc:             newFunc,
			NewListFunc:         newListFunc,
			GetAttrsFunc:        attrs,
			IndexerFuncs:        triggers,
			Indexers:            indexers,
			Codec:               config.Codec,
			Clock:               rhythm{},
		})
		if err != nil {
			closeRaw()
			return nil, nil, fmt.Errorf("watch cache of %s: %w", r.GroupResource, err)
		}
		if r.Filled {
			// At the worst the first requests fail and are tried again.
			ctx, cancel := context.WithTimeout(context.Background(), fillTimeout)
			_ = c.Wait(ctx)
			cancel()
		}
		delegator := cacher.NewCacheDelegator(c, later{raw})
		return steady.Watches(delegator), b.owned(func() {
			delegator.Stop()
			c.Stop()
			closeRaw()
		}), nil
	}
}

func (b *Backend) raw(config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, prefix string) (apistorage.Interface, func(), error) {
	transformer := config.Transformer
	if transformer == nil {
		transformer = identity.NewEncryptCheckTransformer()
	}
	versioner := apistorage.APIObjectVersioner{}
	s, err := etcd3.New(b.client, b.compactor, config.Codec, newFunc, newListFunc, config.Prefix, prefix,
		config.GroupResource, transformer, config.LeaseManagerConfig, answers{etcd3.NewDefaultDecoder(config.Codec, versioner)}, versioner)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}
