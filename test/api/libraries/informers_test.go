package libraries

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// TestInformersOutliveTheServer stops the server below an informer, changes objects
// once it is back, and expects that the informer tells of every one of them, once.
func TestInformersOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	s := apitest.StartWith(t, apitest.Options{Dir: dir})
	var address atomic.Value // of the server of the time
	address.Store(strings.TrimPrefix(s.Config.Host, "https://"))
	config := rest.CopyConfig(s.Config)
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address.Load().(string))
	}
	typed := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	maps := s.Clientset().CoreV1().ConfigMaps("default")
	for _, name := range []string{"stays", "goes", "changes"} {
		if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	told := make(chan string, 100)
	factory := informers.NewSharedInformerFactoryWithOptions(typed, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { told <- "add " + o.(*corev1.ConfigMap).Name },
		UpdateFunc: func(old, now any) {
			if old.(*corev1.ConfigMap).ResourceVersion != now.(*corev1.ConfigMap).ResourceVersion { // else only listed again
				told <- "update " + now.(*corev1.ConfigMap).Name
			}
		},
		DeleteFunc: func(o any) {
			key, _ := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
			told <- "delete " + strings.TrimPrefix(key, "default/")
		},
	}); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	t.Cleanup(factory.Shutdown)
	t.Cleanup(cancel) // before it
	expect(ctx, t, told, "add stays", "add goes", "add changes")

	s.Stop()
	s = apitest.StartWith(t, apitest.Options{Dir: dir})
	maps = s.Clientset().CoreV1().ConfigMaps("default")
	if err := maps.Delete(ctx, "goes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Update(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "changes"}, Data: map[string]string{"a": "b"}}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "comes"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	address.Store(strings.TrimPrefix(s.Config.Host, "https://")) // only now the informer finds it
	expect(ctx, t, told, "delete goes", "update changes", "add comes")
	var names []string
	for _, o := range informer.GetStore().List() {
		names = append(names, o.(*corev1.ConfigMap).Name)
	}
	if len(names) != 3 {
		t.Errorf("the informer has %v", names)
	}
}

// expect waits until all is told, in any order, and nothing else before.
func expect(ctx context.Context, t *testing.T, told <-chan string, wanted ...string) {
	t.Helper()
	left := map[string]bool{}
	for _, w := range wanted {
		left[w] = true
	}
	start := time.Now()
	for len(left) > 0 {
		select {
		case got := <-told:
			if !left[got] {
				t.Errorf("told %q, which is too much", got)
			}
			delete(left, got)
		case <-ctx.Done():
			t.Fatalf("not told within %v: %v", time.Since(start), left)
		}
	}
}
