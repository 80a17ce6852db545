package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// lookups reads from caches and asks the server where a cache may lag: a token
// is often used the moment after its account or pod was made.
type lookups struct {
	client   kubernetes.Interface
	accounts corelisters.ServiceAccountLister
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
}

// NewObjects returns lookups over shared caches. Secrets are always read from
// the server: caching them all for the few tokens that live in one would cost
// more than it saves.
func NewObjects(client kubernetes.Interface, factory informers.SharedInformerFactory) Objects {
	core := factory.Core().V1()
	return &lookups{
		client:   client,
		accounts: core.ServiceAccounts().Lister(),
		pods:     core.Pods().Lister(),
		nodes:    core.Nodes().Lister(),
	}
}

func (l *lookups) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	account, err := l.accounts.ServiceAccounts(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return l.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	return account, err
}

func (l *lookups) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod, err := l.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return l.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	return pod, err
}

func (l *lookups) Node(ctx context.Context, name string) (*corev1.Node, error) {
	node, err := l.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		return l.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	}
	return node, err
}

func (l *lookups) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return l.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}
