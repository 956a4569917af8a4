/* The default training in C99 on one thread: what an iteration costs where nothing is general. See
   benchmark.py.

   A layer lies as [units][ROWS], so that the innermost loops go along the batch, which compilers
   make vector instructions of. Rows are real samples, then generated ones; functions work on those
   from `first` on. Weights lie as TensorFlow has them: of each layer the kernel [inputs][units],
   then the bias. */
#include <math.h>

enum { BATCH = 256, ROWS = 2*BATCH, HIDDEN = 16 };
typedef float Layer[HIDDEN][ROWS];

/* out = in * kernel + bias, through leaky_relu where hidden. */
static inline void forward(int first, const float *w, int inputs, int units, int hidden,
                           Layer in, Layer out)
{
    for (int j = 0; j < units; j++)
        for (int r = first; r < ROWS; r++) {
            float sum = w[inputs*units + j];
            for (int i = 0; i < inputs; i++)
                sum += w[i*units + j]*in[i][r];
            out[j][r] = hidden ? fmaxf(sum, 0.2f*sum) : sum;
        }
}

/* d_in = d_out * transposed kernel, through the leaky_relu that made `in` where hidden. */
static inline void backward(int first, const float *w, int inputs, int units, int hidden,
                            Layer d_out, Layer in, Layer d_in)
{
    for (int i = 0; i < inputs; i++)
        for (int r = first; r < ROWS; r++) {
            float sum = 0;
            for (int j = 0; j < units; j++)
                sum += w[i*units + j]*d_out[j][r];
            d_in[i][r] = hidden && in[i][r] <= 0 ? 0.2f*sum : sum;
        }
}

/* The gradients by kernel and bias, in the order of the weights. */
static inline void gradient(int first, float *g, int inputs, int units, Layer in, Layer d_out)
{
    for (int j = 0; j < units; j++)
        for (int i = 0; i <= inputs; i++) {
            float sum = 0;
            for (int r = first; r < ROWS; r++)
                sum += i < inputs ? in[i][r]*d_out[j][r] : d_out[j][r];
            g[i*units + j] = sum;
        }
}

/* RMSProp as TensorFlow 1 had it. */
static inline void update(int size, float *w, float *squares, const float *g)
{
    for (int k = 0; k < size; k++) {
        squares[k] += 0.1f*(g[k]*g[k] - squares[k]);
        w[k] -= 0.001f*g[k]/sqrtf(squares[k] + 1e-10f);
    }
}

/* The mean cross-entropy of a batch's logits against ones (sign -1) or zeros (sign 1), and its
   gradient by each logit. */
static float cross_entropy(float sign, const float *logits, float *d_logits)
{
    float sum = 0;
    for (int b = 0; b < BATCH; b++) {
        float x = sign*logits[b], e = expf(-fabsf(x));
        sum += fmaxf(x, 0) + logf(1 + e);
        d_logits[b] = sign/BATCH*(x > 0 ? 1 : e)/(1 + e);
    }
    return sum/BATCH;
}

/* n iterations on X [n][BATCH][2] and Z [n][BATCH][2]; losses [n][2]: the discriminator's, the
   generator's. */
void train(int n, const float *X, const float *Z, float *G, float *D, float *G_squares,
           float *D_squares, float *losses)
{
    static Layer z, g1, g2, x, h1, h2, h3, logits, d_logits, d3, d2, d1, d_x, d_g2, d_g1;
    float g[357];
    for (int k = 0; k < 2*n; k++) {  /* steps: the discriminator's in turn with the generator's */
        const int of_G = k % 2, first = of_G ? BATCH : 0;
        for (int b = 0; b < BATCH; b++)
            for (int j = 0; j < 2; j++) {
                x[j][b] = X[(k/2*BATCH + b)*2 + j];
                z[j][BATCH + b] = Z[(k/2*BATCH + b)*2 + j];
            }
        forward(BATCH, G, 2, HIDDEN, 1, z, g1);
        forward(BATCH, G + 48, HIDDEN, HIDDEN, 1, g1, g2);
        forward(BATCH, G + 320, HIDDEN, 2, 0, g2, x);
        forward(first, D, 2, HIDDEN, 1, x, h1);
        forward(first, D + 48, HIDDEN, HIDDEN, 1, h1, h2);
        forward(first, D + 320, HIDDEN, 2, 0, h2, h3);
        forward(first, D + 354, 2, 1, 0, h3, logits);

        losses[k] = cross_entropy(of_G ? -1 : 1, logits[0] + BATCH, d_logits[0] + BATCH)
                    + (of_G ? 0 : cross_entropy(-1, logits[0], d_logits[0]));

        backward(first, D + 354, 2, 1, 0, d_logits, h3, d3);
        backward(first, D + 320, HIDDEN, 2, 1, d3, h2, d2);
        backward(first, D + 48, HIDDEN, HIDDEN, 1, d2, h1, d1);
        if (of_G) {
            backward(first, D, 2, HIDDEN, 0, d1, x, d_x);
            backward(first, G + 320, HIDDEN, 2, 1, d_x, g2, d_g2);
            backward(first, G + 48, HIDDEN, HIDDEN, 1, d_g2, g1, d_g1);
            gradient(first, g, 2, HIDDEN, z, d_g1);
            gradient(first, g + 48, HIDDEN, HIDDEN, g1, d_g2);
            gradient(first, g + 320, HIDDEN, 2, g2, d_x);
            update(354, G, G_squares, g);
        } else {
            gradient(first, g, 2, HIDDEN, x, d1);
            gradient(first, g + 48, HIDDEN, HIDDEN, h1, d2);
            gradient(first, g + 320, HIDDEN, 2, h2, d3);
            gradient(first, g + 354, 2, 1, h3, d_logits);
            update(357, D, D_squares, g);
        }
    }
}
