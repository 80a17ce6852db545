// Package manifest reads the workloads of an application from files of manifests, as
// `kubectl apply -f` takes them, and says which pods they ask for. It talks to no
// cluster; kinds that run no pods are left out.
package manifest

import (
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

// Read reads files, folders and "-" (stdin). Objects without a namespace get the given
// one.
func Read(files []string, stdin io.Reader, namespace string) ([]outlook.Workload, error) {
	if len(files) == 0 {
		return nil, nil
	}
	builder := resource.NewLocalBuilder().Unstructured().ContinueOnError().Flatten()
	for _, f := range files {
		if f == "-" {
			builder = builder.Stream(stdin, "stdin")
			continue
		}
		builder = builder.FilenameParam(false, &resource.FilenameOptions{Filenames: []string{f}})
	}
	infos, err := builder.Do().Infos()
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	var out []outlook.Workload
	for _, info := range infos {
		w, err := workload(info.Object, namespace)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", info.Source, err)
		}
		if w != nil {
			out = append(out, *w)
		}
	}
	return out, nil
}

// workload is nil for what runs no pods.
func workload(obj runtime.Object, namespace string) (*outlook.Workload, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || !scheme.Scheme.Recognizes(u.GroupVersionKind()) {
		return nil, nil
	}
	typed, err := scheme.Scheme.New(u.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, typed, true); err != nil {
		return nil, fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	w := &outlook.Workload{Kind: u.GetKind(), Name: u.GetName(), Namespace: u.GetNamespace(), Count: 1}
	if w.Namespace == "" {
		w.Namespace = namespace
	}
	template := fill(w, typed)
	if template == nil {
		return nil, nil
	}
	w.Pod = &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	w.Pod.Name, w.Pod.Namespace = w.Name, w.Namespace
	return w, nil
}

// fill sets how many pods a workload asks for and returns what they are like.
func fill(w *outlook.Workload, obj runtime.Object) *corev1.PodTemplateSpec {
	count := func(n *int32) {
		if n != nil {
			w.Count = int(*n)
		}
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		return &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: o.Labels, Annotations: o.Annotations}, Spec: o.Spec}
	case *appsv1.Deployment:
		count(o.Spec.Replicas)
		return &o.Spec.Template
	case *appsv1.ReplicaSet:
		count(o.Spec.Replicas)
		return &o.Spec.Template
	case *corev1.ReplicationController:
		count(o.Spec.Replicas)
		return o.Spec.Template
	case *appsv1.StatefulSet:
		count(o.Spec.Replicas)
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		w.PerNode = true
		return &o.Spec.Template
	case *batchv1.Job:
		return job(w, &o.Spec)
	case *batchv1.CronJob:
		return job(w, &o.Spec.JobTemplate.Spec)
	}
	return nil
}

func job(w *outlook.Workload, spec *batchv1.JobSpec) *corev1.PodTemplateSpec {
	if spec.Parallelism != nil {
		w.Count = int(*spec.Parallelism)
	}
	if spec.Completions != nil {
		w.Count = min(w.Count, int(*spec.Completions))
	}
	if spec.Suspend != nil && *spec.Suspend {
		w.Count = 0
	}
	return &spec.Template
}
