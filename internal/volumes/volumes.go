package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	claims map[claimKey]claimed
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
	return &Manager{source: source, options: options, tokens: map[tokenKey]token{}, claims: map[claimKey]claimed{}}
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
	case volume.PersistentVolumeClaim != nil, volume.Ephemeral != nil:
		return time.Time{}, m.claim(ctx, pod, volume)
	case volume.Image != nil:
		return time.Time{}, nil // the runtime mounts it
	}
	return time.Time{}, unsupported(&volume.VolumeSource)
}

// unsupported names a kind of volume that cannot be made.
func unsupported(source any) error {
	return fmt.Errorf("volumes of kind %s are not supported on this node yet; use configMap, secret, downwardAPI, projected, emptyDir, hostPath, or a claim of a local or hostPath volume", kindOf(source))
}

// kindOf is the field that is set in a union of sources.
func kindOf(source any) string {
	fields := map[string]json.RawMessage{}
	if data, err := json.Marshal(source); err == nil && json.Unmarshal(data, &fields) == nil {
		for kind := range fields {
			return kind
		}
	}
	return "unknown"
}

func (m *Manager) files(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (time.Time, error) {
	files, renew, err := m.content(ctx, pod, volume)
	if err != nil {
		return time.Time{}, err
	}
	dir := m.volumeDir(pod.UID, volume)
	group := fsGroup(pod)
	if err := memory(dir, tmpfs{mode: 0o755, group: group, noSwap: true}); err != nil {
		return time.Time{}, err
	}
	if group != nil {
		for path, file := range files {
			file.Mode |= 0o440
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

// Path is what a container mounts for volume, without a subPath. Of a claim it
// is known after Setup.
func (m *Manager) Path(uid types.UID, volume *corev1.Volume) string {
	switch {
	case volume.HostPath != nil:
		return volume.HostPath.Path
	case volume.PersistentVolumeClaim != nil, volume.Ephemeral != nil:
		return m.claimed(uid, volume.Name).path
	}
	return m.volumeDir(uid, volume)
}

// ReadOnly says whether no container may write to volume, whatever its mount says.
func ReadOnly(volume *corev1.Volume) bool {
	switch {
	case volume.ConfigMap != nil, volume.Secret != nil, volume.DownwardAPI != nil, volume.Projected != nil:
		return true
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ReadOnly
	}
	return false
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
	maps.DeleteFunc(m.tokens, func(key tokenKey, _ token) bool { return key.pod == uid })
	maps.DeleteFunc(m.claims, func(key claimKey, _ claimed) bool { return key.pod == uid })
	m.mu.Unlock()
	if err := RemoveAll(m.PodDir(uid)); err != nil {
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
