package content

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// readTimeout bounds one request for an object.
const readTimeout = 10 * time.Second

// Options say whom a Store tells.
type Options struct {
	// Changed is called with a pod to which a changed object matters. It must
	// not block.
	Changed func(uid types.UID)
	Log     *slog.Logger
}

// Store reads objects for the pods of a node.
type Store struct {
	client  kubernetes.Interface
	options Options
	wake    chan struct{} // holds a token while pending is not empty

	mu      sync.Mutex // guards the fields below
	pods    map[types.UID]keys
	entries map[key]*entry
	pending []*entry // entries whose watch Run has to start
}

// New returns a Store that reads through client.
func New(client kubernetes.Interface, options Options) *Store {
	if options.Changed == nil {
		options.Changed = func(types.UID) {}
	}
	options.Log = cmp.Or(options.Log, slog.Default())
	return &Store{
		client: client, options: options, wake: make(chan struct{}, 1),
		pods: map[types.UID]keys{}, entries: map[key]*entry{},
	}
}

// Register keeps what pod refers to, until Unregister. Call it again when the
// pod's spec has changed.
func (s *Store) Register(pod *corev1.Pod) {
	wanted := references(pod)
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.pods[pod.UID]
	s.pods[pod.UID] = wanted
	for k := range wanted {
		e, ok := s.entries[k]
		if !ok {
			e = newEntry(k)
			s.entries[k] = e
			s.pending = append(s.pending, e)
		}
		e.pods[pod.UID] = struct{}{}
	}
	for k := range had {
		if _, ok := wanted[k]; !ok {
			s.release(k, pod.UID)
		}
	}
	if len(s.pending) > 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Unregister forgets a pod and what only it referred to.
func (s *Store) Unregister(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.pods[uid] {
		s.release(k, uid)
	}
	delete(s.pods, uid)
}

// release drops a pod's reference; s.mu is held.
func (s *Store) release(k key, uid types.UID) {
	e := s.entries[k]
	delete(e.pods, uid)
	if len(e.pods) == 0 {
		e.end()
		delete(s.entries, k)
	}
}

// Run watches what registered pods refer to until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	var watches sync.WaitGroup
	defer watches.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		s.mu.Lock()
		pending := s.pending
		s.pending = nil
		s.mu.Unlock()
		for _, e := range pending {
			watches.Go(func() { s.watch(ctx, e) })
		}
	}
}

// ConfigMap returns the ConfigMap as it is known, or reads it.
func (s *Store) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	object, err := s.get(ctx, key{configMap, namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*corev1.ConfigMap), nil
}

// Secret returns the Secret as it is known, or reads it.
func (s *Store) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	object, err := s.get(ctx, key{secret, namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*corev1.Secret), nil
}

func (s *Store) get(ctx context.Context, k key) (metav1.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s.mu.Lock()
	e, ok := s.entries[k]
	s.mu.Unlock()
	if !ok {
		object, err := s.read(ctx, k)
		if apierrors.IsNotFound(err) {
			return nil, notFound(k)
		}
		return object, err
	}
	object, err := e.first(ctx, func() (metav1.Object, error) { return s.read(ctx, k) })
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", k.kind, k.namespace, k.name, err)
	}
	return object, err
}

// read asks the API for an object and drops what no pod can see of it.
func (s *Store) read(ctx context.Context, k key) (metav1.Object, error) {
	if k.kind == configMap {
		object, err := s.client.CoreV1().ConfigMaps(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return slim(object), nil
	}
	object, err := s.client.CoreV1().Secrets(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return slim(object), nil
}

func slim(object metav1.Object) metav1.Object {
	object.SetManagedFields(nil)
	object.SetAnnotations(nil)
	return object
}

// Token asks for a token of a service account.
func (s *Store) Token(ctx context.Context, namespace, account string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return s.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
}

// PersistentVolume returns the volume that a claim is bound to. With an owner the
// claim must have been made for that pod.
func (s *Store) PersistentVolume(ctx context.Context, namespace, claim string, owner *corev1.Pod) (*corev1.PersistentVolume, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	pvc, err := s.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, claim, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if owner != nil && !metav1.IsControlledBy(pvc, owner) {
		return nil, fmt.Errorf("persistentvolumeclaim %q was not created for pod %s/%s: the pod does not own it", claim, owner.Namespace, owner.Name)
	}
	if pvc.Status.Phase != corev1.ClaimBound || pvc.Spec.VolumeName == "" {
		return nil, fmt.Errorf("persistentvolumeclaim %q is not bound", claim)
	}
	pv, err := s.client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != pvc.UID {
		return nil, fmt.Errorf("persistentvolume %q is not bound to persistentvolumeclaim %q", pv.Name, claim)
	}
	return pv, nil
}
