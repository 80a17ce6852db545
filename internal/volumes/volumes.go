package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/volumes/atomic"
)

const tokenRetry = 30 * time.Second

// Options say where and by what clock a Manager works.
type Options struct {
	// Dir holds pods/UID.
	Dir string
	// Allocatable is what an unset limit means; nil is nothing.
	Allocatable func() corev1.ResourceList
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Manager makes and removes pods' volumes.
type Manager struct {
	source  Source
	options Options

	mu     sync.Mutex // guards the fields below
	tokens map[tokenKey]token
}

type tokenKey struct {
	pod      types.UID
	audience string
	seconds  int64
}

type token struct {
	value          string
	expires, renew time.Time
}

// New returns a Manager of the volumes under options.Dir.
func New(source Source, options Options) *Manager {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Allocatable == nil {
		options.Allocatable = func() corev1.ResourceList { return nil }
	}
	return &Manager{source: source, options: options, tokens: map[tokenKey]token{}}
}

// Error is a volume that could not be made.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// PodDir is where all of a pod lies.
func (m *Manager) PodDir(uid types.UID) string {
	return filepath.Join(m.options.Dir, "pods", string(uid))
}

// Setup makes every volume of pod, or brings it up to date. The time, when not
// zero, is when to call Setup again to renew a token. The error joins an *Error
// per volume.
func (m *Manager) Setup(ctx context.Context, pod *corev1.Pod) (time.Time, error) {
	var again time.Time
	var problems []error
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		renew, err := m.setup(ctx, pod, volume)
		if err != nil {
			problems = append(problems, &Error{Volume: volume.Name, Err: err})
			continue
		}
		if !renew.IsZero() && (again.IsZero() || renew.Before(again)) {
			again = renew
		}
	}
	return again, errors.Join(problems...)
}

func (m *Manager) setup(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (time.Time, error) {
	switch {
	case volume.HostPath != nil:
		return time.Time{}, hostPath(volume.HostPath)
	case volume.EmptyDir != nil:
		return time.Time{}, m.emptyDir(pod, volume)
	case volume.ConfigMap != nil, volume.Secret != nil, volume.DownwardAPI != nil, volume.Projected != nil:
		return m.files(ctx, pod, volume)
	case volume.Image != nil:
		return time.Time{}, nil // the runtime mounts it
	}
	return time.Time{}, errors.New("this kind of volume is not supported on this node yet; use configMap, secret, downwardAPI, projected, emptyDir or hostPath")
}

func (m *Manager) files(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (time.Time, error) {
	files, renew, err := m.content(ctx, pod, volume)
	if err != nil {
		return time.Time{}, err
	}
	dir := m.volumeDir(pod.UID, volume)
	if err := m.memory(dir, 0); err != nil {
		return time.Time{}, err
	}
	group := fsGroup(pod)
	if group != nil {
		for path, file := range files {
			// The group may read what its owner may read.
			file.Mode |= file.Mode & 0o400 >> 3
			files[path] = file
		}
	}
	if _, err := atomic.Write(dir, files, group); err != nil {
		return time.Time{}, err
	}
	return renew, nil
}

// volumeDir is the directory on the host that holds a volume's content.
func (m *Manager) volumeDir(uid types.UID, volume *corev1.Volume) string {
	kind := "empty-dir"
	switch {
	case volume.ConfigMap != nil:
		kind = "configmap"
	case volume.Secret != nil:
		kind = "secret"
	case volume.DownwardAPI != nil:
		kind = "downward-api"
	case volume.Projected != nil:
		kind = "projected"
	}
	return filepath.Join(m.PodDir(uid), "volumes", plugin(kind), volume.Name)
}

// Path is what a container mounts for volume, without a subPath.
func (m *Manager) Path(uid types.UID, volume *corev1.Volume) string {
	if volume.HostPath != nil {
		return volume.HostPath.Path
	}
	return m.volumeDir(uid, volume)
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// Remove unmounts and deletes all of a pod. It may be called for a pod that was
// never set up.
func (m *Manager) Remove(uid types.UID) error {
	m.mu.Lock()
	for key := range m.tokens {
		if key.pod == uid {
			delete(m.tokens, key)
		}
	}
	m.mu.Unlock()
	dir := m.PodDir(uid)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unmountUnder(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the pod's directory: %w", err)
	}
	return nil
}

// Pods lists the pods that have a directory.
func (m *Manager) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(m.options.Dir, "pods"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var uids []types.UID
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			uids = append(uids, types.UID(entry.Name()))
		}
	}
	return uids, err
}
