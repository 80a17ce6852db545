package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/cli/language"
	"github.com/sinawi/sinawi/internal/runtime/image"
)

// Stage is one part of the tour.
type Stage struct {
	Title language.Text
	Took  time.Duration
	// Lines say what happened, for people.
	Lines []language.Text
}

// Result is what was measured.
type Result struct {
	Ready          time.Duration  `json:"ready"`     // three replicas, from apply to all ready
	PerPod         map[string]int `json:"perPod"`    // answers by pod
	Recovered      time.Duration  `json:"recovered"` // killed container, until ready again
	Scaled         time.Duration  `json:"scaled"`    // from three to ten, all ready
	Updated        time.Duration  `json:"updated"`   // all ten replaced
	UpdateRequests int            `json:"updateRequests"`
	UpdateFailed   int            `json:"updateFailed"`
}

// Options says where the tour takes place.
type Options struct {
	Config        *rest.Config
	RuntimeSocket string
	// Show is told of each stage when it is over.
	Show func(Stage)
}

// stageTimeout bounds each stage: all take seconds where things are well.
const stageTimeout = 90 * time.Second

type tour struct {
	Options
	client    kubernetes.Interface
	namespace string
	url       string
	keepImage bool // it was there before
	result    Result
}

// Run takes the tour and cleans up, also when it fails or is interrupted.
func Run(ctx context.Context, o Options) (result Result, err error) {
	client, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return Result{}, fmt.Errorf("connect to the cluster: %w", err)
	}
	t := &tour{Options: o, client: client}
	defer func() { err = errors.Join(err, t.cleanUp(context.WithoutCancel(ctx))) }()
	for _, s := range []struct {
		title language.Text
		do    func(context.Context) ([]language.Text, error)
	}{
		{language.Text{EN: "an image is made from a program in this binary", KO: "이 바이너리 안의 프로그램으로 이미지를 만듭니다"}, t.makeImage},
		{language.Text{EN: "three replicas and a service start", KO: "복제본 세 개와 서비스를 시작합니다"}, t.deploy},
		{language.Text{EN: "requests to the service spread over the replicas", KO: "서비스에 온 요청이 복제본에 나뉩니다"}, t.spread},
		{language.Text{EN: "a container is killed and comes back", KO: "컨테이너 하나를 죽이면 다시 살아납니다"}, t.kill},
		{language.Text{EN: "three replicas become ten", KO: "복제본 세 개를 열 개로 늘립니다"}, t.scale},
		{language.Text{EN: "a rolling update under load", KO: "부하 속에서 순차 업데이트를 합니다"}, t.update},
	} {
		if err := t.stage(ctx, s.title, s.do); err != nil {
			return t.result, err
		}
	}
	return t.result, nil
}

func (t *tour) stage(ctx context.Context, title language.Text, do func(context.Context) ([]language.Text, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	began := time.Now()
	lines, err := do(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", title.EN, err)
	}
	t.Show(Stage{Title: title, Took: time.Since(began), Lines: lines})
	return nil
}

func (t *tour) makeImage(ctx context.Context) ([]language.Text, error) {
	there, err := image.List(ctx, t.RuntimeSocket)
	if err != nil {
		return nil, err
	}
	t.keepImage = slices.ContainsFunc(there, func(i image.Image) bool { return i.Name == ImageName })
	if err := ImportImage(ctx, t.RuntimeSocket); err != nil {
		return nil, err
	}
	return []language.Text{{EN: ImageName}}, nil
}

func (t *tour) deploy(ctx context.Context) ([]language.Text, error) {
	ns, err := t.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "sinawi-demo-"}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	t.namespace = ns.Name
	began := time.Now()
	svc, err := t.client.CoreV1().Services(t.namespace).Create(ctx, service(t.namespace), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	if _, err := t.client.AppsV1().Deployments(t.namespace).Create(ctx, deployment(t.namespace, 3, "v1"), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if err := t.rolledOut(ctx, 3); err != nil {
		return nil, err
	}
	t.result.Ready = time.Since(began)
	t.url = "http://" + svc.Spec.ClusterIP + "/"
	return []language.Text{{
		EN: fmt.Sprintf("namespace %s, service at %s", t.namespace, t.url),
		KO: fmt.Sprintf("네임스페이스 %s, 서비스 주소 %s", t.namespace, t.url),
	}}, t.reachable(ctx)
}

// reachable waits until the service answers: the node learns of new endpoints a
// moment after they are ready.
func (t *tour) reachable(ctx context.Context) error {
	tr := newTraffic(t.url)
	for {
		_, err := tr.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service does not answer: %w", err)
		case <-time.After(interval):
		}
	}
}

const spreadRequests = 300

func (t *tour) spread(ctx context.Context) ([]language.Text, error) {
	tr := newTraffic(t.url)
	for range spreadRequests {
		tr.one(ctx)
	}
	if len(tr.failed) > 0 {
		return nil, fmt.Errorf("%d of %d requests failed, the first: %w", len(tr.failed), tr.sent, tr.failed[0])
	}
	t.result.PerPod = tr.byPod
	if len(tr.byPod) != 3 {
		return nil, fmt.Errorf("%d of 3 replicas answered", len(tr.byPod))
	}
	return bars(tr.byPod), nil
}

func (t *tour) kill(ctx context.Context) ([]language.Text, error) {
	pod, err := t.anyPod(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := killContainer(ctx, t.RuntimeSocket, pod); err != nil {
		return nil, err
	}
	if err := t.restarted(ctx, pod); err != nil {
		return nil, err
	}
	t.result.Recovered = time.Since(began)
	return []language.Text{{
		EN: fmt.Sprintf("%s was ready again after %s", pod.Name, round(t.result.Recovered)),
		KO: fmt.Sprintf("%s가 %s 만에 다시 준비되었습니다", pod.Name, round(t.result.Recovered)),
	}}, nil
}

func (t *tour) scale(ctx context.Context) ([]language.Text, error) {
	began := time.Now()
	// Not an update: the deployment's controller writes status meanwhile.
	tenReplicas := []byte(`{"spec":{"replicas":10}}`)
	if _, err := t.client.AppsV1().Deployments(t.namespace).Patch(ctx, appName, types.MergePatchType, tenReplicas, metav1.PatchOptions{}, "scale"); err != nil {
		return nil, err
	}
	if err := t.rolledOut(ctx, 10); err != nil {
		return nil, err
	}
	t.result.Scaled = time.Since(began)
	return nil, nil
}

// senders of requests during the update.
const senders = 4

func (t *tour) update(ctx context.Context) ([]language.Text, error) {
	tr := newTraffic(t.url)
	began := time.Now()
	err := tr.during(ctx, senders, func() error {
		if err := t.setVersion(ctx, "v2"); err != nil {
			return err
		}
		if err := t.rolledOut(ctx, 10); err != nil {
			return err
		}
		t.result.Updated = time.Since(began)
		return nil
	})
	t.result.UpdateRequests, t.result.UpdateFailed = tr.sent, len(tr.failed)
	if err != nil {
		return nil, err
	}
	if len(tr.failed) > 0 {
		return nil, fmt.Errorf("%d of %d requests failed, the first: %w", len(tr.failed), tr.sent, tr.failed[0])
	}
	return []language.Text{{
		EN: fmt.Sprintf("10 replicas replaced in %s; %d requests meanwhile, none lost", round(t.result.Updated), tr.sent),
		KO: fmt.Sprintf("복제본 10개를 %s에 바꾸는 동안 요청 %d개, 잃은 것 없음", round(t.result.Updated), tr.sent),
	}}, nil
}

// cleanUp removes the namespace, waits until it is gone, and removes the image
// unless somebody had it before.
func (t *tour) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	began := time.Now()
	if t.namespace != "" {
		if err := t.client.CoreV1().Namespaces().Delete(ctx, t.namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("clean up: %w", err)
		}
		if err := t.namespaceGone(ctx); err != nil {
			return fmt.Errorf("clean up: namespace %s: %w", t.namespace, err)
		}
	}
	if !t.keepImage {
		if err := image.Remove(ctx, t.RuntimeSocket, ImageName); err != nil && t.namespace != "" {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	t.Show(Stage{Title: language.Text{EN: "everything is removed again", KO: "모두 다시 지웁니다"}, Took: time.Since(began)})
	return nil
}
