package content

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	retryFirst = 50 * time.Millisecond
	retryLast  = 30 * time.Second
	// A watch lives this long, and up to twice as long.
	watchLife = 5 * time.Minute
)

var errExpired = errors.New("the version to watch from is gone")

// watch keeps an entry up to date until nobody needs it.
func (s *Store) watch(ctx context.Context, e *entry) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !e.begin(cancel) {
		return
	}
	retry := retryFirst
	from := ""
	for ctx.Err() == nil {
		var err error
		if from == "" {
			from, err = s.refresh(ctx, e)
		}
		if err == nil && e.immutable() {
			return
		}
		began := time.Now()
		if err == nil {
			from, err = s.stream(ctx, e, from)
		}
		switch {
		case err == nil && time.Since(began) > retryLast:
			retry = retryFirst
			continue
		case err == nil: // a server that ends watches at once is not to be pressed
		case errors.Is(err, errExpired):
			from = ""
		case ctx.Err() == nil:
			// Right after a pod was bound, the node may not be allowed to read yet.
			s.options.Log.Debug("watch content", "kind", e.key.kind, "namespace", e.key.namespace, "name", e.key.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, retryLast)
	}
}

// refresh reads an object when it is unknown or may have been missed, and
// answers where to watch from.
func (s *Store) refresh(ctx context.Context, e *entry) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	object, err := s.read(ctx, e.key)
	if apierrors.IsNotFound(err) {
		object, err = nil, nil
	}
	if err != nil {
		return "", err
	}
	s.take(e, object)
	return e.version(), nil
}

// take makes object the entry's state and tells the pods that read another.
func (s *Store) take(e *entry, object metav1.Object) {
	if !e.set(object) {
		return
	}
	s.mu.Lock()
	pods := make([]types.UID, 0, len(e.pods))
	for uid := range e.pods {
		pods = append(pods, uid)
	}
	s.mu.Unlock()
	for _, uid := range pods {
		s.options.Changed(uid)
	}
}

// stream follows one watch to its end and answers where the next goes on.
func (s *Store) stream(ctx context.Context, e *entry, from string) (string, error) {
	seconds := int64((watchLife + rand.N(watchLife)).Seconds())
	options := metav1.ListOptions{
		FieldSelector:       fields.OneTermEqualSelector("metadata.name", e.key.name).String(),
		ResourceVersion:     from,
		AllowWatchBookmarks: true,
		TimeoutSeconds:      &seconds,
	}
	var w watch.Interface
	var err error
	if e.key.kind == configMap {
		w, err = s.client.CoreV1().ConfigMaps(e.key.namespace).Watch(ctx, options)
	} else {
		w, err = s.client.CoreV1().Secrets(e.key.namespace).Watch(ctx, options)
	}
	if err != nil {
		return from, expired(err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return from, ctx.Err()
		case event, ok := <-w.ResultChan():
			if !ok {
				return from, nil
			}
			if event.Type == watch.Error {
				return from, expired(apierrors.FromObject(event.Object))
			}
			object, ok := event.Object.(metav1.Object)
			if !ok {
				continue
			}
			from = object.GetResourceVersion()
			switch event.Type {
			case watch.Added, watch.Modified:
				s.take(e, slim(object))
				if e.immutable() {
					return from, nil
				}
			case watch.Deleted:
				s.take(e, nil)
			}
		}
	}
}

func expired(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errExpired
	}
	return err
}
